"""`StubQueue`: one queue of `StubSqs`, with its messages and the rules of SQS for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS

ARN = "arn:aws:sqs:us-east-1:000000000000:"
_DEFAULTS = {"VisibilityTimeout": "30", "MessageRetentionPeriod": "345600", "DelaySeconds": "0"}
_HANDLE = "receipt-"
_NOT_IN_FLIGHT = "Message does not exist or is not available for visibility timeout change."
_TOO_LONG = (
    f"Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_SECONDS} "
    "seconds]"
)


def refusal(code: str, operation: str, text: str = "") -> ClientError:
    """The error of a call that SQS refuses, as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": text or code}}, operation)


@dataclass
class StubMessage:
    """Times are seconds of the queue's clock.

    receipt: the handle of the last receive; empty before. received_at: when that was.
    receives: over all queues that the message was in.
    """

    id: str
    body: str
    sent_at: float
    visible_at: float
    receives: int = 0
    receipt: str = ""
    received_at: float = 0.0
    first_received_at: float = 0.0

    def attributes(self) -> dict[str, str]:
        """The attributes that SQS adds to a received message; its times are milliseconds."""
        return {
            "ApproximateReceiveCount": str(self.receives),
            "SentTimestamp": str(round(self.sent_at * 1000)),
            "ApproximateFirstReceiveTimestamp": str(round(self.first_received_at * 1000)),
        }


class StubQueue:
    """A standard queue.

    attributes: as SetQueueAttributes has them. numbers: those of new messages and receipts.
    """

    def __init__(
        self,
        name: str,
        attributes: dict[str, str],
        clock: Callable[[], float],
        numbers: Iterator[int],
    ):
        self.name, self._clock, self._numbers = name, clock, numbers
        self.attributes = _DEFAULTS | {"QueueArn": ARN + name} | attributes
        self._messages: list[StubMessage] = []

    @property
    def messages(self) -> list[StubMessage]:
        """Those that are left, the oldest first. Messages expire some time after their sending."""
        oldest = self._clock() - int(self.attributes["MessageRetentionPeriod"])
        self._messages = [m for m in self._messages if m.sent_at > oldest]
        return self._messages

    @property
    def dead_letters(self) -> str:
        """The name of the dead-letter queue; empty when there is none."""
        arn: str = self._policy.get("deadLetterTargetArn", "")
        return arn.rsplit(":", 1)[-1]

    def visible(self) -> list[StubMessage]:
        return [m for m in self.messages if m.visible_at <= self._clock()]

    def in_flight(self) -> list[StubMessage]:
        """Messages that were received and are hidden, without those whose delay is not over."""
        return [m for m in self.messages if m.visible_at > self._clock() and m.receipt]

    def send(self, body: str, delay_seconds: int | None) -> StubMessage:
        now = self._clock()
        delay = int(self.attributes["DelaySeconds"]) if delay_seconds is None else delay_seconds
        message = StubMessage(f"message-{next(self._numbers)}", body, now, now + delay)
        self._messages.append(message)
        return message

    def hand_out(self, message: StubMessage, hidden_seconds: int) -> None:
        """Give a message to a receiver: its earlier receipt handle is of no use any more."""
        now = self._clock()
        message.receives += 1
        message.receipt = f"{_HANDLE}{next(self._numbers)}"
        message.received_at, message.visible_at = now, now + hidden_seconds
        message.first_received_at = message.first_received_at or now

    def is_used_up(self, message: StubMessage) -> bool:
        """True when the message moves to the dead letters instead of being received again."""
        return bool(self._policy) and message.receives >= int(self._policy["maxReceiveCount"])

    def give(self, message: StubMessage, other: StubQueue) -> None:
        """Move a message to another queue. It keeps the time of its sending, so it expires soon."""
        self._messages.remove(message)
        message.visible_at, message.receipt = self._clock(), ""
        other._messages.append(message)

    def delete(self, receipt: str) -> None:
        """Nothing is deleted by an old handle."""
        _check_handle(receipt, "DeleteMessage")
        self._messages = [m for m in self._messages if m.receipt != receipt]

    def hide(self, receipt: str, seconds: int) -> None:
        operation, now = "ChangeMessageVisibility", self._clock()
        _check_handle(receipt, operation)
        message = next((m for m in self.messages if m.receipt == receipt), None)
        if message is None:
            problem = f"Value {receipt} for parameter ReceiptHandle is invalid. "
            raise refusal("InvalidParameterValue", operation, f"{problem}Reason: {_NOT_IN_FLIGHT}")
        if message.visible_at <= now:
            raise refusal("AWS.SimpleQueueService.MessageNotInflight", operation, _NOT_IN_FLIGHT)
        if now + seconds - message.received_at > MAX_VISIBILITY_SECONDS:
            problem = f"Value {seconds} for parameter VisibilityTimeout is invalid. "
            raise refusal("InvalidParameterValue", operation, f"{problem}Reason: {_TOO_LONG}.")
        message.visible_at = now + seconds

    @property
    def _policy(self) -> dict[str, str]:
        policy: dict[str, str] = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        return policy


def _check_handle(receipt: str, operation: str) -> None:
    if not receipt.startswith(_HANDLE):
        text = f'The input receipt handle "{receipt}" is not a valid receipt handle.'
        raise refusal("ReceiptHandleIsInvalid", operation, text)
