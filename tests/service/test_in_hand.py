from __future__ import annotations

from collections.abc import Callable

import pytest

from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.service.in_hand import Held, InHand
from tests.support.queues import BOX, receive

Hold = Callable[[], Held]


@pytest.fixture
def make_held(sqs: StubSqs, queue: Queue) -> Hold:
    return lambda: Held(Lease(sqs, queue, receive(sqs, queue, BOX), 30), started=0.0)


def test_a_task_is_in_hand_until_its_block_ends(make_held: Hold) -> None:
    in_hand, first, second = InHand(), make_held(), make_held()

    def fail() -> None:
        with in_hand.holding(second):
            assert in_hand.all() == [first, second]
            assert second in in_hand
            raise ValueError("broken")

    with in_hand.holding(first):
        with pytest.raises(ValueError, match="broken"):
            fail()
        assert in_hand.all() == [first]
        assert len(in_hand) == 1
        assert second not in in_hand
    assert in_hand.all() == []


def test_two_deliveries_of_one_message_are_two_tasks(make_held: Hold) -> None:
    in_hand, held = InHand(), make_held()
    twin = Held(held.lease, held.started)
    with in_hand.holding(held):
        assert twin not in in_hand


def test_what_is_in_hand_may_change_while_it_is_looked_at(make_held: Hold) -> None:
    in_hand = InHand()
    with in_hand.holding(make_held()), in_hand.holding(make_held()):
        for _ in in_hand.all():
            with in_hand.holding(make_held()):
                assert len(in_hand) == 3


def test_a_held_task_knows_its_delivery(make_held: Hold) -> None:
    assert make_held().delivery.message.bbox == BOX
