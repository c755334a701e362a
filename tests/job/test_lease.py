from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.sqs import Queue, QueueUnavailable

QUEUE = Queue("q", "url", "dead-url", 3, 60)


class Sqs:
    """Records the calls of a lease; `fail` is raised by each of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.renewed = threading.Semaphore(0)
        self.fail: Exception | None = None
        self.failed = threading.Event()

    def _call(self, name: str, value: Any) -> None:
        if self.fail is not None:
            self.failed.set()
            raise self.fail
        self.calls.append((name, value))

    def change_message_visibility(
        self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> None:
        self._call("hide", VisibilityTimeout)
        self.renewed.release()

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:
        self._call("send", (QueueUrl, MessageBody))

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        self._call("delete", QueueUrl)


def gone(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "ChangeMessageVisibility")


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


def test_it_renews_three_times_in_its_span_and_stops_with_the_block(sqs: Sqs) -> None:
    with Lease(sqs, QUEUE, "r", 1):
        for _ in range(3):
            assert sqs.renewed.acquire(timeout=5)
    count = len(sqs.calls)
    assert set(sqs.calls) == {("hide", 1)}
    assert not sqs.renewed.acquire(timeout=0.6)
    assert len(sqs.calls) == count


@pytest.mark.parametrize(
    "code", ["MessageNotInflight", "InvalidParameterValue", "ReceiptHandleIsInvalid"]
)
def test_it_is_lost_when_sqs_says_so(sqs: Sqs, code: str) -> None:
    sqs.fail = gone(code)
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert lease.lost.wait(5)
        with pytest.raises(LeaseLost):
            lease.check()
    sqs.fail = None
    lease.set_delay(0)
    lease.give_back("body")
    assert sqs.calls == [], "another worker's message is not touched"


def test_it_is_lost_when_no_renewal_gets_through_in_time(
    sqs: Sqs, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.fail = EndpointConnectionError(endpoint_url="http://127.0.0.1")
    with Lease(sqs, QUEUE, "r", 1) as lease:
        assert lease.lost.wait(5)
    assert "no renewal got through" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        gone("ServiceUnavailable"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
        ConnectionClosedError(endpoint_url="http://127.0.0.1"),
        RuntimeError("anything"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_failed_renewal_loses_nothing(sqs: Sqs, error: Exception) -> None:
    """Some of botocore's errors have a response that is None."""
    sqs.fail = error
    with Lease(sqs, QUEUE, "r", 3) as lease:
        assert sqs.failed.wait(5)
        sqs.fail = None
        assert sqs.renewed.acquire(timeout=5)
        assert not lease.lost.is_set()


def test_the_twelve_hours_of_sqs_are_said_clearly(
    sqs: Sqs, caplog: pytest.LogCaptureFixture
) -> None:
    with Lease(sqs, QUEUE, "r", 3, limit=2.5) as lease:
        assert lease.lost.wait(10)
    assert "12 hours at most" in caplog.text
    assert [seconds for _, seconds in sqs.calls] == [2, 1], "never beyond the limit"


def test_give_back_sends_a_copy_before_it_deletes(sqs: Sqs) -> None:
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert sqs.renewed.acquire(timeout=5)
        lease.give_back("body")
        lease.give_back("body")
    assert sqs.calls[1:] == [("send", ("url", "body")), ("delete", "url")], (
        "once, and no renewal after it"
    )


def test_acknowledging_deletes_the_message_once_and_nothing_follows(sqs: Sqs) -> None:
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert sqs.renewed.acquire(timeout=5)
        lease.acknowledge()
        lease.give_back("body")
        lease.set_delay(3)
        lease.acknowledge()
    assert sqs.calls[1:] == [("delete", "url")]


def test_failed_acknowledgement_is_no_error(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert sqs.renewed.acquire(timeout=5)
        sqs.fail = gone("ServiceUnavailable")
        lease.acknowledge()
    assert "will come back and be found done" in caplog.text


def test_dead_letter_goes_to_the_dead_letter_queue(sqs: Sqs) -> None:
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert sqs.renewed.acquire(timeout=5)
    lease.dead_letter("body")
    lease.set_delay(5)
    assert sqs.calls[1:] == [("send", ("dead-url", "body")), ("delete", "url")]


def test_backoff_is_set_and_its_failure_is_no_error(sqs: Sqs) -> None:
    with Lease(sqs, QUEUE, "r", 60) as lease:
        assert sqs.renewed.acquire(timeout=5)
    lease.set_delay(40)
    assert sqs.calls[-1] == ("hide", 40)
    sqs.fail = gone("ServiceUnavailable")
    lease.set_delay(40)
    with pytest.raises(QueueUnavailable):
        lease.give_back("body")
