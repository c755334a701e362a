from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chunkflow_worker.job.deleter import Deleter
from chunkflow_worker.job.sqs import Queue, receive
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from tests.support.queues import send

AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


def receipts(sqs: StubSqs, queue: Queue, count: int) -> list[str]:
    """Of so many messages that are sent and received."""
    for _ in range(count):
        send(sqs, queue)
    found: list[str] = []
    while len(found) < count:
        found += [message["ReceiptHandle"] for message in receive(sqs, queue.url, 10, 0)]
    return found


class Held:
    """A client whose first request waits until the test says so."""

    def __init__(self, sqs: StubSqs):
        self._sqs = sqs
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.batches: list[int] = []
        self.answer: dict[str, Any] | None = None

    def delete_message(self, **arguments: str) -> None:
        self.asked.set()
        assert self.go_on.wait(10)
        self._sqs.delete_message(**arguments)

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> Any:
        self.batches.append(len(Entries))
        return self.answer or self._sqs.delete_message_batch(QueueUrl, Entries)


def delete_behind_another(deleter: Deleter, client: Held, handles: list[str]) -> list[Any]:
    """Delete the first message, and the others while that request is under way; the errors."""

    def attempt(receipt: str) -> Exception | None:
        try:
            deleter.delete(receipt)
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(len(handles)) as threads:
        first = threads.submit(attempt, handles[0])
        assert client.asked.wait(10)
        others = [threads.submit(attempt, receipt) for receipt in handles[1:]]
        while len(deleter._waiting) < len(others):
            assert not any(other.done() for other in others)
        client.go_on.set()
        return [each.result(10) for each in (first, *others)]


def test_a_message_alone_is_deleted_at_once(sqs: StubSqs, queue: Queue) -> None:
    (receipt,) = receipts(sqs, queue, 1)
    Deleter(sqs, queue.url).delete(receipt)
    assert sqs.bodies(queue.url) == []


def test_what_comes_during_a_request_shares_the_next_ones(sqs: StubSqs, queue: Queue) -> None:
    client = Held(sqs)
    handles = receipts(sqs, queue, 13)
    errors = delete_behind_another(Deleter(client, queue.url), client, handles)
    assert errors == [None] * 13
    assert sorted(client.batches) == [2, 10]
    assert sqs.bodies(queue.url) == []


def test_each_learns_of_its_own_error(sqs: StubSqs, queue: Queue) -> None:
    client = Held(sqs)
    client.answer = {
        "Successful": [{"Id": "0"}],
        "Failed": [{"Id": "1", "Code": "AccessDenied", "Message": "no", "SenderFault": True}],
    }
    errors = delete_behind_another(Deleter(client, queue.url), client, receipts(sqs, queue, 3))
    (refused,) = [error for error in errors if error is not None]
    assert isinstance(refused, ClientError)
    assert refused.response["Error"] == {"Code": "AccessDenied", "Message": "no"}


def test_an_outage_concerns_all_of_a_request_and_no_later_one(sqs: StubSqs, queue: Queue) -> None:
    deleter = Deleter(sqs, queue.url)
    (receipt,) = receipts(sqs, queue, 1)
    sqs.fail["delete_message"] = AWAY
    with pytest.raises(EndpointConnectionError):
        deleter.delete(receipt)
    del sqs.fail["delete_message"]
    deleter.delete(receipt)
    assert sqs.bodies(queue.url) == []
