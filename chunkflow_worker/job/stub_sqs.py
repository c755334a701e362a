"""`StubSqs`: SQS in memory, with the rules of the real one and a clock that tests turn by hand.

For tests of this package and of others that receive, renew and settle messages. It has the methods
of boto3's SQS client that this package calls. Rules, from the SQS developer guide and API reference
(standard queues):

- a received message is hidden from the receive on, for the visibility timeout; each receive has a
  receipt handle of its own;
- a changed visibility counts from the change, and 12 hours from the receive are the limit;
- the visibility of a message that is visible again can't be changed (MessageNotInflight), nor by
  the handle of an earlier receive (InvalidParameterValue);
- deleting by the handle of an earlier receive succeeds and deletes nothing;
- a message that was received `maxReceiveCount` times moves to the dead-letter queue when it would
  be received once more;
- a message that is moved keeps the time at which it was first sent;
- a batch has 1 to 10 entries with distinct ids.

Differences: messages are received in the order of sending, nothing is handed out twice, and a long
poll returns at once.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS

_ARN = "arn:aws:sqs:us-east-1:000000000000:"
_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/"
_MAX_BATCH = 10


class ManualClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class _Message:
    """receipt: of the last receive; None before. received_at: when that was."""

    id: str
    body: str
    visible_at: float
    sent_at: float
    receives: int = 0
    receipt: str | None = None
    received_at: float = 0.0


@dataclass
class _StubQueue:
    name: str
    attributes: dict[str, str]
    messages: list[_Message] = field(default_factory=list)


class _QueueDoesNotExist(ClientError):  # type: ignore[misc]  # botocore has no types
    def __init__(self, operation: str):
        answer = {"Code": "AWS.SimpleQueueService.NonExistentQueue", "Message": "no such queue"}
        super().__init__({"Error": answer}, operation)


class _Exceptions:
    QueueDoesNotExist = _QueueDoesNotExist


class _Meta:
    region_name = "us-east-1"
    endpoint_url = "https://sqs.us-east-1.amazonaws.com"


class StubSqs:
    """Stands for boto3's SQS client.

    calls: the operations that were called, with their arguments, in order.
    fail: an error by operation (the method's name), raised by each call until it is removed.
    """

    exceptions = _Exceptions
    meta = _Meta

    def __init__(self, clock: ManualClock | None = None):
        self.clock = clock or ManualClock()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, Exception] = {}
        self._queues: dict[str, _StubQueue] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # What tests look at

    def bodies(self, url: str) -> list[str]:
        """The bodies of all messages of a queue, hidden ones too."""
        return [message.body for message in self._messages(url)]

    def visible(self, url: str) -> list[str]:
        """The bodies of the messages that the next receive would return."""
        return [m.body for m in self._messages(url) if m.visible_at <= self.clock()]

    def seconds_hidden(self, url: str) -> list[float]:
        """For how long each message of a queue stays hidden, 0 for visible ones."""
        return [max(0.0, m.visible_at - self.clock()) for m in self._messages(url)]

    def called(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(name == operation for name, _ in self.calls)

    # What boto3's client has

    def create_queue(
        self, QueueName: str, Attributes: dict[str, str] | None = None
    ) -> dict[str, str]:
        with self._call("create_queue", QueueName=QueueName, Attributes=Attributes):
            url = _URL + QueueName
            defaults = {
                "VisibilityTimeout": "30",
                "MessageRetentionPeriod": "345600",
                "QueueArn": _ARN + QueueName,
            }
            self._queues.setdefault(url, _StubQueue(QueueName, defaults | (Attributes or {})))
            return {"QueueUrl": url}

    def delete_queue(self, QueueUrl: str) -> None:
        with self._call("delete_queue", QueueUrl=QueueUrl):
            self._queue(QueueUrl, "DeleteQueue")
            del self._queues[QueueUrl]

    def get_queue_url(self, QueueName: str) -> dict[str, str]:
        with self._call("get_queue_url", QueueName=QueueName):
            self._queue(_URL + QueueName, "GetQueueUrl")
            return {"QueueUrl": _URL + QueueName}

    def get_queue_attributes(
        self, QueueUrl: str, AttributeNames: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        with self._call("get_queue_attributes", QueueUrl=QueueUrl, AttributeNames=AttributeNames):
            queue = self._queue(QueueUrl, "GetQueueAttributes")
            hidden = sum(m.visible_at > self.clock() for m in queue.messages)
            delayed = sum(m.visible_at > self.clock() and not m.receives for m in queue.messages)
            counts = {
                "ApproximateNumberOfMessages": len(queue.messages) - hidden,
                "ApproximateNumberOfMessagesNotVisible": hidden - delayed,
                "ApproximateNumberOfMessagesDelayed": delayed,
            }
            known = queue.attributes | {name: str(count) for name, count in counts.items()}
            asked = known if "All" in AttributeNames else AttributeNames
            return {"Attributes": {name: known[name] for name in asked if name in known}}

    def set_queue_attributes(self, QueueUrl: str, Attributes: dict[str, str]) -> None:
        with self._call("set_queue_attributes", QueueUrl=QueueUrl, Attributes=Attributes):
            self._queue(QueueUrl, "SetQueueAttributes").attributes.update(Attributes)

    def send_message(
        self, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0
    ) -> dict[str, str]:
        with self._call("send_message", QueueUrl=QueueUrl, MessageBody=MessageBody):
            queue = self._queue(QueueUrl, "SendMessage")
            return {"MessageId": self._add(queue, MessageBody, DelaySeconds)}

    def send_message_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, Any]]
    ) -> dict[str, list[dict[str, str]]]:
        with self._call("send_message_batch", QueueUrl=QueueUrl, Entries=Entries):
            queue = self._queue(QueueUrl, "SendMessageBatch")
            ids = [entry["Id"] for entry in Entries]
            if not 1 <= len(ids) <= _MAX_BATCH:
                raise _refusal("TooManyEntriesInBatchRequest", "SendMessageBatch")
            if len(set(ids)) < len(ids):
                raise _refusal("BatchEntryIdsNotDistinct", "SendMessageBatch")
            sent = [
                {
                    "Id": entry["Id"],
                    "MessageId": self._add(
                        queue, entry["MessageBody"], entry.get("DelaySeconds", 0)
                    ),
                }
                for entry in Entries
            ]
            return {"Successful": sent}

    def receive_message(
        self,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        VisibilityTimeout: int | None = None,
        **asked: Any,
    ) -> dict[str, list[dict[str, Any]]]:
        arguments = {"QueueUrl": QueueUrl, "MaxNumberOfMessages": MaxNumberOfMessages}
        with self._call("receive_message", **arguments):
            if not 1 <= MaxNumberOfMessages <= _MAX_BATCH:
                raise _refusal("InvalidParameterValue", "ReceiveMessage")
            queue = self._queue(QueueUrl, "ReceiveMessage")
            seconds = VisibilityTimeout
            if seconds is None:
                seconds = int(queue.attributes["VisibilityTimeout"])
            received: list[dict[str, Any]] = []
            for message in [m for m in queue.messages if m.visible_at <= self.clock()]:
                if len(received) == MaxNumberOfMessages:
                    break
                if not self._moved_to_dead_letters(queue, message):
                    received.append(self._hand_out(message, seconds))
            return {"Messages": received} if received else {}

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        with self._call("delete_message", QueueUrl=QueueUrl, ReceiptHandle=ReceiptHandle):
            queue = self._queue(QueueUrl, "DeleteMessage")
            queue.messages = [m for m in queue.messages if m.receipt != ReceiptHandle]

    def change_message_visibility(
        self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> None:
        arguments = {"QueueUrl": QueueUrl, "ReceiptHandle": ReceiptHandle}
        operation = "ChangeMessageVisibility"
        with self._call(
            "change_message_visibility", VisibilityTimeout=VisibilityTimeout, **arguments
        ):
            queue, now = self._queue(QueueUrl, operation), self.clock()
            message = next((m for m in queue.messages if m.receipt == ReceiptHandle), None)
            if message is None:
                raise _refusal("InvalidParameterValue", operation)
            if message.visible_at <= now:
                raise _refusal("MessageNotInflight", operation)
            if now + VisibilityTimeout - message.received_at > MAX_VISIBILITY_SECONDS:
                raise _refusal("InvalidParameterValue", operation)
            message.visible_at = now + VisibilityTimeout

    def _call(self, operation: str, **arguments: Any) -> threading.RLock:
        """Note a call; the lock that it is to hold."""
        with self._lock:
            self.calls.append((operation, arguments))
            if operation in self.fail:
                raise self.fail[operation]
        return self._lock

    def _messages(self, url: str) -> list[_Message]:
        with self._lock:
            return list(self._queues[url].messages)

    def _queue(self, url: str, operation: str) -> _StubQueue:
        if url not in self._queues:
            raise _QueueDoesNotExist(operation)
        return self._queues[url]

    def _add(self, queue: _StubQueue, body: str, delay_seconds: int) -> str:
        message_id = f"message-{next(self._numbers)}"
        now = self.clock()
        queue.messages.append(_Message(message_id, body, now + delay_seconds, now))
        return message_id

    def _moved_to_dead_letters(self, queue: _StubQueue, message: _Message) -> bool:
        policy = json.loads(queue.attributes.get("RedrivePolicy", "{}"))
        if not policy or message.receives < int(policy["maxReceiveCount"]):
            return False
        name = policy["deadLetterTargetArn"].rsplit(":", 1)[-1]
        queue.messages.remove(message)
        message.visible_at = self.clock()
        self._queue(_URL + name, "ReceiveMessage").messages.append(message)
        return True

    def _hand_out(self, message: _Message, hidden_seconds: int) -> dict[str, Any]:
        message.receives += 1
        message.receipt = f"receipt-{next(self._numbers)}"
        message.received_at = self.clock()
        message.visible_at = self.clock() + hidden_seconds
        return {
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "Body": message.body,
            "Attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": str(int(message.sent_at * 1000)),
            },
        }


def _refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
