"""`StubSqs`: the SQS of the local AWS in memory, with a clock that tests turn by hand.

For tests of this package and of others that receive, renew and settle messages. It has the methods
of boto3's SQS client that this package calls, and the rules of SQS, which `sqs/sqs.py` tells.
A message may come twice, and a deleted one again: tests say when. A long poll returns at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from chunkflow_worker.local_aws.sqs.batches import check_entries
from chunkflow_worker.local_aws.sqs.call import Call
from chunkflow_worker.local_aws.sqs.message import Message
from chunkflow_worker.local_aws.sqs.queue import LocalQueue
from chunkflow_worker.local_aws.sqs.refused import Refused
from chunkflow_worker.local_aws.sqs.sqs import LocalSqs

_REGION = "us-east-1"
_URL = f"https://sqs.{_REGION}.amazonaws.com"
_LEGACY = "AWS.SimpleQueueService."
_LEGACY_CODES = {  # where boto3 raises another code than that of the model
    "QueueDoesNotExist": f"{_LEGACY}NonExistentQueue",
    "MessageNotInflight": f"{_LEGACY}MessageNotInflight",
    "TooManyEntriesInBatchRequest": f"{_LEGACY}TooManyEntriesInBatchRequest",
    "BatchEntryIdsNotDistinct": f"{_LEGACY}BatchEntryIdsNotDistinct",
}


class ManualClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _QueueDoesNotExist(ClientError):  # type: ignore[misc]  # botocore has no types
    pass


class _Exceptions:
    QueueDoesNotExist = _QueueDoesNotExist


class _Meta:
    region_name = _REGION
    endpoint_url = _URL


class StubSqs:
    """Stands for boto3's SQS client.

    clock: in seconds. url: that those of queues start with.
    calls: the operations that were called, with their arguments, in order.
    fail: an error by operation (the method's name), raised by each call until it is removed.
    duplicates: so many of the next received messages are not hidden, so they are received again.
    lost_deletes: so many of the next deletes succeed and delete nothing, so the message returns.
    """

    exceptions = _Exceptions
    meta = _Meta

    def __init__(self, clock: Callable[[], float] | None = None, url: str = _URL):
        self.clock: Any = clock or ManualClock()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, Exception] = {}
        self.duplicates, self.lost_deletes = 0, 0
        self._url = url
        self._sqs = LocalSqs(clock=lambda: self.clock())
        self._lock = threading.RLock()

    @property
    def most_in_flight(self) -> int:
        """Of one queue."""
        return self._sqs.most_in_flight

    @most_in_flight.setter
    def most_in_flight(self, count: int) -> None:
        self._sqs.most_in_flight = count

    # What tests look at

    def bodies(self, url: str) -> list[str]:
        """The bodies of all messages of a queue, hidden ones too."""
        return [message.body for message in self._messages(url)]

    def visible(self, url: str) -> list[str]:
        """The bodies of the messages that the next receive would return."""
        with self._lock:
            return [message.body for message in self._queue(url).visible()]

    def answers_at_once(self, url: str) -> bool:
        """Whether a long poll would not wait."""
        with self._lock:
            try:
                return self._queue(url).counts()[0] > 0
            except Refused:
                return True

    def seconds_hidden(self, url: str) -> list[float]:
        """For how long each message of a queue stays hidden, 0 for visible ones."""
        return [max(0.0, m.visible_at - self.clock()) for m in self._messages(url)]

    def called(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(name == operation for name, _ in self.calls)

    # What boto3's client has

    def create_queue(
        self, QueueName: str, Attributes: dict[str, str] | None = None
    ) -> dict[str, Any]:
        return self._call("create_queue", QueueName=QueueName, Attributes=Attributes or {})

    def delete_queue(self, QueueUrl: str) -> None:
        self._call("delete_queue", QueueUrl=QueueUrl)

    def get_queue_url(self, QueueName: str) -> dict[str, Any]:
        return self._call("get_queue_url", QueueName=QueueName)

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: Sequence[str]) -> dict[str, Any]:
        answer = self._call(
            "get_queue_attributes", QueueUrl=QueueUrl, AttributeNames=AttributeNames
        )
        return {"Attributes": {}} | answer

    def set_queue_attributes(self, QueueUrl: str, Attributes: dict[str, str]) -> None:
        self._call("set_queue_attributes", QueueUrl=QueueUrl, Attributes=Attributes)

    def list_dead_letter_source_queues(self, QueueUrl: str) -> dict[str, Any]:
        return self._call("list_dead_letter_source_queues", QueueUrl=QueueUrl)

    def send_message(
        self, QueueUrl: str, MessageBody: str, DelaySeconds: int | None = None
    ) -> dict[str, Any]:
        delay = {} if DelaySeconds is None else {"DelaySeconds": DelaySeconds}
        return self._call("send_message", QueueUrl=QueueUrl, MessageBody=MessageBody, **delay)

    def send_message_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        return self._call("send_message_batch", QueueUrl=QueueUrl, Entries=Entries)

    def receive_message(
        self,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        **more: Any,
    ) -> dict[str, Any]:
        given = {"QueueUrl": QueueUrl, "MaxNumberOfMessages": MaxNumberOfMessages, **more}
        try:
            answer = self._call("receive_message", **given)
        except ClientError as error:
            if WaitTimeSeconds and error.response["Error"]["Code"] == "OverLimit":
                return {}
            raise
        with self._lock:
            for message in answer.get("Messages", [])[: self.duplicates]:
                self.duplicates -= 1
                self._queue(QueueUrl).hide(message["ReceiptHandle"], 0)
        return answer

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        if self.lost_deletes > 0:
            self._note("delete_message", QueueUrl=QueueUrl, ReceiptHandle=ReceiptHandle)
            self.lost_deletes -= 1
        else:
            self._call("delete_message", QueueUrl=QueueUrl, ReceiptHandle=ReceiptHandle)

    def delete_message_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, str]]
    ) -> dict[str, Any]:
        with _as_boto3("DeleteMessageBatch"):
            check_entries(Entries)
        for entry in Entries:
            self.delete_message(QueueUrl, entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def change_message_visibility(
        self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> None:
        self._call(
            "change_message_visibility",
            QueueUrl=QueueUrl,
            ReceiptHandle=ReceiptHandle,
            VisibilityTimeout=VisibilityTimeout,
        )

    def change_message_visibility_batch(
        self, QueueUrl: str, Entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        return self._call("change_message_visibility_batch", QueueUrl=QueueUrl, Entries=Entries)

    def _note(self, method: str, **arguments: Any) -> None:
        with self._lock:
            self.calls.append((method, arguments))
            if method in self.fail:
                raise self.fail[method]

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._note(method, **arguments)
        operation = "".join(word.capitalize() for word in method.split("_"))
        with _as_boto3(operation):
            return self._sqs.do(Call(operation, arguments, _REGION, self._url))

    def _messages(self, url: str) -> list[Message]:
        with self._lock:
            return list(self._queue(url).messages())

    def _queue(self, url: str) -> LocalQueue:
        return self._sqs.find(_REGION, url.rpartition("/")[2])


@contextmanager
def _as_boto3(operation: str) -> Iterator[None]:
    """Raise errors as boto3 does."""
    try:
        yield
    except Refused as refused:
        code = _LEGACY_CODES.get(refused.code, refused.code)
        answer = {"Error": {"Code": code, "Message": refused.message}}
        kind = _QueueDoesNotExist if refused.code == "QueueDoesNotExist" else ClientError
        raise kind(answer, operation) from None
