from __future__ import annotations

import itertools
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.job.sqs import Queue, QueueUnavailable
from producer.send.batches import (
    ATTEMPTS,
    BATCH_BYTES,
    WINDOW,
    SendingFailed,
    SendingRefused,
    pack,
    send,
)


class FakeSqs:
    """Counts what arrives. `refuse(body, nth)`: whether an entry fails at its nth attempt."""

    def __init__(self, refuse: Any = lambda body, nth: False):
        self.refuse = refuse
        self.tried: Counter[str] = Counter()
        self.arrived: list[str] = []
        self.batches: list[list[str]] = []
        self.lock = threading.Lock()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        failed = []
        with self.lock:
            self.batches.append([entry["MessageBody"] for entry in Entries])
            for entry in Entries:
                body = entry["MessageBody"]
                self.tried[body] += 1
                if self.refuse(body, self.tried[body]):
                    failed.append(
                        {
                            "Id": entry["Id"],
                            "Code": "InternalError",
                            "Message": "try later",
                            "SenderFault": False,
                        }
                    )
                else:
                    self.arrived.append(body)
        return {"Failed": failed} if failed else {}


@given(st.lists(st.integers(0, 4000), max_size=60))
def test_batches_keep_the_order_and_the_limits(lengths: list[int]) -> None:
    bodies = [f"{i}:" + "x" * length * 50 for i, length in enumerate(lengths)]
    batches = list(pack(bodies))
    assert [body for _, batch in batches for body in batch] == bodies
    assert [first for first, _ in batches] == list(
        itertools.accumulate([0, *(len(b) for _, b in batches)])
    )[: len(batches)]
    for _, batch in batches:
        assert 1 <= len(batch) <= 10
        assert len(batch) == 1 or sum(len(body.encode()) for body in batch) <= BATCH_BYTES


def test_all_arrive_once() -> None:
    sqs, counts = FakeSqs(), list[int]()
    bodies = [str(i) for i in range(1234)]
    assert send(sqs, "url", bodies, sent=counts.append) == 1234
    assert Counter(sqs.arrived) == Counter(bodies)
    assert len(sqs.batches) == 124
    assert counts == sorted(counts)
    assert counts[-1] == 1234


def test_nothing_to_send() -> None:
    assert send(FakeSqs(), "url", []) == 0


def test_only_entries_that_failed_are_sent_again() -> None:
    """Named defect of the peer: it sent in one thread, and ended at the first entry refused."""
    sqs = FakeSqs(refuse=lambda body, nth: int(body) % 7 == 0 and nth < 3)
    assert send(sqs, "url", [str(i) for i in range(100)], pause=0) == 100
    assert Counter(sqs.arrived) == Counter(str(i) for i in range(100))
    assert {body: n for body, n in sqs.tried.items() if n > 1} == {
        str(i): 3 for i in range(0, 100, 7)
    }


def test_messages_have_the_group_of_their_job() -> None:
    sqs = WithGroups()
    assert send(sqs, "url", [str(i) for i in range(25)], group="j") == 25
    assert sqs.groups == {"j"}


@pytest.mark.parametrize("as_entries", [False, True])
def test_a_service_that_refuses_groups_gets_messages_without(as_entries: bool) -> None:
    sqs = WithGroups("entries" if as_entries else "request")
    bodies = [str(i) for i in range(250)]
    assert send(sqs, "url", bodies, group="j", threads=2, pause=100) == 250
    assert Counter(sqs.arrived) == Counter(bodies)
    assert sqs.groups == {""}


class WithGroups(FakeSqs):
    """Notes the groups of what arrives. refuses: groups, of the request or of its entries."""

    def __init__(self, refuses: str = ""):
        super().__init__()
        self.refuses, self.groups = refuses, set[str]()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        found = {entry.get("MessageGroupId", "") for entry in Entries}
        why = "The request include parameter MessageGroupId that is not valid for this queue type."
        if self.refuses == "request" and found != {""}:
            answer = {"Error": {"Code": "InvalidParameterValue", "Message": why}}
            raise ClientError(answer, "SendMessageBatch")
        if self.refuses == "entries" and found != {""}:
            return {"Failed": [{"Id": entry["Id"], "Message": why} for entry in Entries]}
        self.groups |= found
        return super().send_message_batch(QueueUrl, Entries)


def test_requests_that_failed_are_sent_again() -> None:
    class Flaky(FakeSqs):
        def send_message_batch(
            self, QueueUrl: str, Entries: list[dict[str, str]]
        ) -> dict[str, Any]:
            with self.lock:
                self.tried["requests"] += 1
                if self.tried["requests"] % 3 == 1:
                    raise EndpointConnectionError(endpoint_url="x")
            return super().send_message_batch(QueueUrl, Entries)

    sqs = Flaky()
    assert send(sqs, "url", [str(i) for i in range(50)], threads=1, pause=0) == 50
    assert Counter(sqs.arrived) == Counter(str(i) for i in range(50))


def test_an_entry_that_is_always_refused_says_where_to_resume() -> None:
    sqs = FakeSqs(refuse=lambda body, nth: body in ("234", "236", "999"))
    counts = list[int]()
    with pytest.raises(SendingFailed, match=r"InternalError: try later") as caught:
        send(sqs, "url", [str(i) for i in range(1000)], pause=0, sent=counts.append)
    assert caught.value.first_unsent == 234
    assert set(map(str, range(234))) <= set(sqs.arrived)
    assert str(caught.value).startswith(f"{len(sqs.arrived)} messages were sent")
    assert sqs.tried["234"] == ATTEMPTS
    assert counts[-1] == 230
    assert isinstance(caught.value, QueueUnavailable)


def test_batches_in_flight_count_when_one_fails_and_later_ones_are_not_sent() -> None:
    """The first batch fails only when the second has arrived."""
    second_arrived = threading.Event()

    class Slow(FakeSqs):
        def send_message_batch(
            self, QueueUrl: str, Entries: list[dict[str, str]]
        ) -> dict[str, Any]:
            if Entries[0]["MessageBody"] == "0":
                assert second_arrived.wait(30)
            answer = super().send_message_batch(QueueUrl, Entries)
            if Entries[0]["MessageBody"] == "10":
                second_arrived.set()
            return answer

    sqs = Slow(refuse=lambda body, nth: int(body) < 10)
    with pytest.raises(SendingFailed) as caught:
        send(sqs, "url", (str(i) for i in range(100_000)), threads=2, pause=0)
    assert caught.value.first_unsent == 0
    assert str(caught.value).startswith(f"{len(sqs.arrived)} messages were sent")
    assert 10 <= len(sqs.arrived) < 1000


def test_an_endpoint_that_does_not_answer_ends_the_sending() -> None:
    class Gone:
        def send_message_batch(self, **_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://gone")

    with pytest.raises(SendingFailed, match=r"0 messages were sent.*gone cannot") as caught:
        send(Gone(), "url", (str(i) for i in range(1000)), pause=0)
    assert caught.value.first_unsent == 0


def test_bodies_are_taken_only_shortly_before_they_are_sent() -> None:
    """A million boxes must not be in memory, or in requests in flight."""
    taken, most = 0, 0

    def bodies() -> Any:
        nonlocal taken
        for i in range(5000):
            taken += 1
            yield str(i)

    def sent(count: int) -> None:
        nonlocal most
        most = max(most, taken - count)

    send(FakeSqs(), "url", bodies(), threads=2, sent=sent)
    assert taken == 5000
    assert most <= (2 * WINDOW + 1) * 10 + 1


def test_a_failure_travels_between_processes() -> None:
    failure = pickle.loads(pickle.dumps(SendingRefused(3, 2, "no"))).after(100)
    assert isinstance(failure, SendingRefused)
    assert (failure.first_unsent, str(failure)) == (102, "103 messages were sent, then: no")


def test_an_interrupt_ends_the_sending() -> None:
    sqs = FakeSqs()

    def sent(count: int) -> None:
        if count >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(sqs, "url", [str(i) for i in range(100_000)], threads=8, sent=sent)
    assert 100 <= len(sqs.arrived) < 1000


def test_messages_reach_a_real_queue(
    client: Any, queue: Queue, take_all: Callable[[str], list[str]]
) -> None:
    bodies = [f"message {i}" for i in range(25)]
    assert send(client, queue.url, bodies) == 25
    assert sorted(take_all(queue.url)) == sorted(bodies)
