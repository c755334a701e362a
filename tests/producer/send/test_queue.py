from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import Queue, QueueUnavailable, find_queue
from producer.send.batches import ATTEMPTS, BATCH_BYTES, WINDOW, SendingFailed, pack, send
from producer.send.queue import DAY, create_queue, delete_queue


class FakeSqs:
    """Counts what arrives. `refuse(body, nth)` says whether an entry fails when it is sent for the nth time."""

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
    """Named defect of the peer: enqueueing was serial, and ended half way at the first entry that was refused."""
    sqs = FakeSqs(refuse=lambda body, nth: int(body) % 7 == 0 and nth < 3)
    assert send(sqs, "url", [str(i) for i in range(100)], pause=0) == 100
    assert Counter(sqs.arrived) == Counter(str(i) for i in range(100))
    assert {body: n for body, n in sqs.tried.items() if n > 1} == {
        str(i): 3 for i in range(0, 100, 7)
    }


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


def test_what_stays_refused_ends_it_and_says_where_to_resume() -> None:
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


def test_an_endpoint_that_is_gone_ends_it() -> None:
    class Gone:
        def send_message_batch(self, **_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://gone")

    with pytest.raises(SendingFailed, match=r"0 messages were sent.*http://gone") as caught:
        send(Gone(), "url", (str(i) for i in range(1000)), pause=0)
    assert caught.value.first_unsent == 0


def test_bodies_are_made_only_as_they_are_needed() -> None:
    """A million boxes must not lie in memory, or in requests on their way."""
    made, most = 0, 0

    def bodies() -> Any:
        nonlocal made
        for i in range(5000):
            made += 1
            yield str(i)

    def sent(count: int) -> None:
        nonlocal most
        most = max(most, made - count)

    send(FakeSqs(), "url", bodies(), threads=2, sent=sent)
    assert made == 5000
    assert most <= (2 * WINDOW + 1) * 10 + 1


def test_an_interrupt_ends_it_without_sending_the_rest() -> None:
    sqs = FakeSqs()

    def sent(count: int) -> None:
        if count >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(sqs, "url", [str(i) for i in range(100_000)], sent=sent)
    assert 100 <= len(sqs.arrived) < 1000


def test_messages_reach_a_real_queue(
    client: Any, queue: Queue, take_all: Callable[[str], list[str]]
) -> None:
    bodies = [f"message {i}" for i in range(25)]
    assert send(client, queue.url, bodies) == 25
    assert sorted(take_all(queue.url)) == sorted(bodies)


def attributes(client: Any, url: str) -> dict[str, str]:
    found: dict[str, str] = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return found


def test_a_queue_is_made_with_its_dead_letters(client: Any, unique_name: str) -> None:
    """Named defect of the peer: messages were kept for 4 days, and then lost in silence."""
    main, dead = create_queue(
        client, unique_name, max_receives=7, visibility_seconds=90, retention_days=3
    )
    assert main.created
    assert dead.created
    assert dead.name == f"{unique_name}-dead"
    found = attributes(client, main.url)
    assert (found["VisibilityTimeout"], found["MessageRetentionPeriod"]) == ("90", str(3 * DAY))
    assert attributes(client, dead.url)["MessageRetentionPeriod"] == str(14 * DAY)
    queue = find_queue(client, unique_name)
    assert (queue.url, queue.dead_letter_url, queue.max_receives) == (main.url, dead.url, 7)


def test_making_it_again_changes_what_differs(client: Any, unique_name: str) -> None:
    create_queue(client, unique_name)
    same, dead = create_queue(client, unique_name)
    assert not same.created
    assert same.changed == dead.changed == {}
    main, dead = create_queue(client, unique_name, max_receives=2, visibility_seconds=30)
    assert main.changed["VisibilityTimeout"] == ("60", "30")
    assert set(main.changed) == {"VisibilityTimeout", "RedrivePolicy"}
    assert dead.changed == {}
    assert find_queue(client, unique_name).max_receives == 2
    assert attributes(client, main.url)["VisibilityTimeout"] == "30"


def test_a_bare_queue_is_given_dead_letters(client: Any, unique_name: str) -> None:
    client.create_queue(QueueName=unique_name)
    main, dead = create_queue(client, unique_name)
    assert not main.created
    assert dead.created
    assert main.changed["RedrivePolicy"][0] == "none"
    assert find_queue(client, unique_name).dead_letter_url == dead.url


def test_a_policy_with_quoted_numbers_is_the_same(client: Any, unique_name: str) -> None:
    main, dead = create_queue(client, unique_name)
    policy = {
        "maxReceiveCount": "5",
        "deadLetterTargetArn": attributes(client, dead.url)["QueueArn"],
    }
    client.set_queue_attributes(QueueUrl=main.url, Attributes={"RedrivePolicy": json.dumps(policy)})
    assert create_queue(client, unique_name)[0].changed == {}


def test_both_queues_are_deleted(client: Any, unique_name: str) -> None:
    create_queue(client, unique_name)
    assert delete_queue(client, unique_name) == [unique_name, f"{unique_name}-dead"]
    assert delete_queue(client, unique_name) == []
    with pytest.raises(ConfigError):
        find_queue(client, unique_name)


@pytest.mark.parametrize("name", ["tasks.fifo", "", "a b", "x" * 76, "ä", "x\n"])
def test_names_that_are_no_task_queues_are_refused(name: str) -> None:
    for action in (create_queue, delete_queue):
        with pytest.raises(ConfigError):
            action(None, name)
