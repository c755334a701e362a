from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import MessageMalformed, PipelineMismatch
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.message import MAX_ATTEMPTS, TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from tests.support.queues import BOX, receive, send

MESSAGE = TaskMessage(job="job", bbox=BOX, pipeline="0a")


def raw(body: str, receives: str = "1") -> dict[str, Any]:
    return {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": body,
        "Attributes": {"ApproximateReceiveCount": receives},
    }


def test_it_is_opened_from_what_sqs_returns() -> None:
    delivery = Delivery.open(raw(encode(MESSAGE, "q", "id"), "2"), "q")
    assert delivery == Delivery(MESSAGE, "id", 2, "r", "m")


@pytest.mark.parametrize("body", ["", "0-4_0-4", BOX, encode(MESSAGE, "another-queue", "id")])
def test_a_malformed_message_is_refused(body: str) -> None:
    with pytest.raises(MessageMalformed):
        Delivery.open(raw(body), "q")


def test_a_plain_box_is_accepted_where_the_caller_allows_it() -> None:
    delivery = Delivery.open(raw(f" {BOX}\n", "3"), "q", plain_boxes=True)
    assert delivery.message == TaskMessage(job="local", bbox=BOX)
    assert (delivery.task_id, delivery.attempt) == ("m", 3)
    assert delivery.same_again("q") == delivery.fresh("q") == f" {BOX}\n"


@given(st.integers(0, MAX_ATTEMPTS), st.integers(1, 1000))
def test_attempts_count_over_all_copies(spent: int, receives: int) -> None:
    delivery = Delivery(MESSAGE.model_copy(update={"attempts": spent}), "id", receives)
    assert delivery.attempt == spent + receives
    assert delivery.is_copy is (spent > 0)
    assert delivery.is_last(spent + receives)
    assert not delivery.is_last(spent + receives + 1)
    fresh, task_id = open_envelope(delivery.fresh("q"), "q")
    assert (fresh, task_id) == (MESSAGE, "id")
    again, task_id = open_envelope(delivery.same_again("q"), "q")
    assert task_id == "id"
    assert again.attempts == min(spent + receives - 1, MAX_ATTEMPTS), "this receive is not counted"


def test_it_is_for_the_chain_that_its_message_names_or_for_any() -> None:
    Delivery(MESSAGE, "id").check_pipeline("0a")
    Delivery(TaskMessage(job="job", bbox=BOX), "id").check_pipeline("0a")
    with pytest.raises(PipelineMismatch, match="job job is for pipeline 0a, and this chain is 0b"):
        Delivery(MESSAGE, "id").check_pipeline("0b")


def test_a_copy_that_is_received_has_the_same_attempt_number(sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue, attempts=1)
    delivery = receive(sqs, queue)
    sqs.clock.advance(30)
    delivery = receive(sqs, queue)
    assert delivery.attempt == 3
    sqs.delete_message(queue.url, delivery.receipt)
    sqs.send_message(queue.url, delivery.same_again(queue.name))
    assert receive(sqs, queue).attempt == 3
