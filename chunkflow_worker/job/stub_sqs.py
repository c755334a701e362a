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
  be received once more; it keeps the time of its sending, and its receives;
- a message expires when the retention period of its queue has passed since its sending;
- while 120,000 messages are in flight, none is received: OverLimit, or a long poll that is empty;
- a message may come twice, and a deleted one again: tests say when;
- a batch has 1 to 10 entries with distinct ids.

Differences: messages are received in the order of sending, and a long poll returns at once.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chunkflow_worker.job.stub_queue import StubMessage, StubQueue, refusal

_URL = "https://sqs.us-east-1.amazonaws.com"
_ACCOUNT = "000000000000"
_MAX_BATCH = 10


class ManualClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _QueueDoesNotExist(ClientError):  # type: ignore[misc]  # botocore has no types
    def __init__(self, operation: str):
        answer = {"Code": "AWS.SimpleQueueService.NonExistentQueue", "Message": "no such queue"}
        super().__init__({"Error": answer}, operation)


class _Exceptions:
    QueueDoesNotExist = _QueueDoesNotExist


class _Meta:
    region_name = "us-east-1"
    endpoint_url = _URL


class StubSqs:
    """Stands for boto3's SQS client.

    clock: in seconds. url: that those of queues start with.
    calls: the operations that were called, with their arguments, in order.
    fail: an error by operation (the method's name), raised by each call until it is removed.
    duplicates: so many of the next received messages are not hidden, so they are received again.
    lost_deletes: so many of the next deletes succeed and delete nothing, so the message returns.
    most_in_flight: of one queue.
    """

    exceptions = _Exceptions
    meta = _Meta

    def __init__(self, clock: Callable[[], float] | None = None, url: str = _URL):
        self.clock: Any = clock or ManualClock()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, Exception] = {}
        self.duplicates, self.lost_deletes = 0, 0
        self.most_in_flight = 120_000
        self._url = f"{url}/{_ACCOUNT}/"
        self._queues: dict[str, StubQueue] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # What tests look at

    def bodies(self, url: str) -> list[str]:
        """The bodies of all messages of a queue, hidden ones too."""
        return [message.body for message in self._messages(url)]

    def visible(self, url: str) -> list[str]:
        """The bodies of the messages that the next receive would return."""
        with self._lock:
            return [message.body for message in self._queues[url].visible()]

    def answers_at_once(self, url: str) -> bool:
        """Whether a long poll would not wait."""
        with self._lock:
            return url not in self._queues or bool(self._queues[url].visible())

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
            url = self._url + QueueName
            if url not in self._queues:
                attributes = Attributes or {}
                self._queues[url] = StubQueue(QueueName, attributes, self.clock, self._numbers)
            return {"QueueUrl": url}

    def delete_queue(self, QueueUrl: str) -> None:
        with self._call("delete_queue", QueueUrl=QueueUrl):
            self._queue(QueueUrl, "DeleteQueue")
            del self._queues[QueueUrl]

    def get_queue_url(self, QueueName: str) -> dict[str, str]:
        with self._call("get_queue_url", QueueName=QueueName):
            self._queue(self._url + QueueName, "GetQueueUrl")
            return {"QueueUrl": self._url + QueueName}

    def get_queue_attributes(
        self, QueueUrl: str, AttributeNames: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        with self._call("get_queue_attributes", QueueUrl=QueueUrl, AttributeNames=AttributeNames):
            queue = self._queue(QueueUrl, "GetQueueAttributes")
            visible, in_flight = len(queue.visible()), len(queue.in_flight())
            counts = {
                "ApproximateNumberOfMessages": visible,
                "ApproximateNumberOfMessagesNotVisible": in_flight,
                "ApproximateNumberOfMessagesDelayed": len(queue.messages) - visible - in_flight,
            }
            known = queue.attributes | {name: str(count) for name, count in counts.items()}
            return {"Attributes": _asked(known, AttributeNames)}

    def set_queue_attributes(self, QueueUrl: str, Attributes: dict[str, str]) -> None:
        with self._call("set_queue_attributes", QueueUrl=QueueUrl, Attributes=Attributes):
            self._queue(QueueUrl, "SetQueueAttributes").attributes.update(Attributes)

    def list_dead_letter_source_queues(self, QueueUrl: str) -> dict[str, list[str]]:
        with self._call("list_dead_letter_source_queues", QueueUrl=QueueUrl):
            name = self._queue(QueueUrl, "ListDeadLetterSourceQueues").name
            sources = [url for url, queue in self._queues.items() if queue.dead_letters == name]
            return {"queueUrls": sources}

    def send_message(
        self, QueueUrl: str, MessageBody: str, DelaySeconds: int | None = None
    ) -> dict[str, str]:
        with self._call("send_message", QueueUrl=QueueUrl, MessageBody=MessageBody):
            queue = self._queue(QueueUrl, "SendMessage")
            return {"MessageId": queue.send(MessageBody, DelaySeconds).id}

    def send_message_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, Any]]
    ) -> dict[str, list[dict[str, str]]]:
        with self._call("send_message_batch", QueueUrl=QueueUrl, Entries=Entries):
            queue = self._queue(QueueUrl, "SendMessageBatch")
            _check_batch(Entries, "SendMessageBatch")
            sent = [queue.send(e["MessageBody"], e.get("DelaySeconds")) for e in Entries]
            return {
                "Successful": [
                    {"Id": entry["Id"], "MessageId": message.id}
                    for entry, message in zip(Entries, sent, strict=True)
                ]
            }

    def receive_message(
        self,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        VisibilityTimeout: int | None = None,
        MessageSystemAttributeNames: Sequence[str] = (),
        AttributeNames: Sequence[str] = (),
        **_: Any,
    ) -> dict[str, list[dict[str, Any]]]:
        arguments = {"QueueUrl": QueueUrl, "MaxNumberOfMessages": MaxNumberOfMessages}
        with self._call("receive_message", **arguments):
            if not 1 <= MaxNumberOfMessages <= _MAX_BATCH:
                raise refusal("InvalidParameterValue", "ReceiveMessage")
            queue = self._queue(QueueUrl, "ReceiveMessage")
            if len(queue.in_flight()) >= self.most_in_flight:
                if WaitTimeSeconds == 0:
                    raise refusal("OverLimit", "ReceiveMessage")
                return {}
            seconds = VisibilityTimeout
            if seconds is None:
                seconds = int(queue.attributes["VisibilityTimeout"])
            asked = {*MessageSystemAttributeNames, *AttributeNames}
            received = [
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": _asked(message.attributes(), asked),
                }
                for message in self._hand_out(queue, MaxNumberOfMessages, seconds)
            ]
            return {"Messages": received} if received else {}

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        with self._call("delete_message", QueueUrl=QueueUrl, ReceiptHandle=ReceiptHandle):
            queue = self._queue(QueueUrl, "DeleteMessage")
            if self.lost_deletes > 0:
                self.lost_deletes -= 1
            else:
                queue.delete(ReceiptHandle)

    def delete_message_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, str]]
    ) -> dict[str, list[dict[str, str]]]:
        _check_batch(Entries, "DeleteMessageBatch")
        for entry in Entries:
            self.delete_message(QueueUrl, entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def change_message_visibility(
        self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> None:
        arguments = {"QueueUrl": QueueUrl, "ReceiptHandle": ReceiptHandle}
        with self._call(
            "change_message_visibility", VisibilityTimeout=VisibilityTimeout, **arguments
        ):
            queue = self._queue(QueueUrl, "ChangeMessageVisibility")
            queue.hide(ReceiptHandle, VisibilityTimeout)

    def _call(self, operation: str, **arguments: Any) -> threading.RLock:
        """Note a call; the lock that it is to hold."""
        with self._lock:
            self.calls.append((operation, arguments))
            if operation in self.fail:
                raise self.fail[operation]
        return self._lock

    def _messages(self, url: str) -> list[StubMessage]:
        with self._lock:
            return list(self._queues[url].messages)

    def _queue(self, url: str, operation: str) -> StubQueue:
        if url not in self._queues:
            raise _QueueDoesNotExist(operation)
        return self._queues[url]

    def _hand_out(self, queue: StubQueue, count: int, hidden_seconds: int) -> list[StubMessage]:
        received: list[StubMessage] = []
        for message in queue.visible():
            if len(received) == count:
                break
            if queue.is_used_up(message):
                url = self._url + queue.dead_letters
                queue.give(message, self._queue(url, "ReceiveMessage"))
                continue
            is_twice = self.duplicates > 0
            self.duplicates -= is_twice
            queue.hand_out(message, 0 if is_twice else hidden_seconds)
            received.append(message)
        return received


def _asked(known: dict[str, str], names: Sequence[str] | set[str]) -> dict[str, str]:
    return {name: value for name, value in known.items() if name in names or "All" in names}


def _check_batch(entries: Sequence[dict[str, Any]], operation: str) -> None:
    ids = [entry["Id"] for entry in entries]
    if not 1 <= len(ids) <= _MAX_BATCH:
        raise refusal("TooManyEntriesInBatchRequest", operation)
    if len(set(ids)) < len(ids):
        raise refusal("BatchEntryIdsNotDistinct", operation)
