from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.job.inbox import Inbox, Received
from chunkflow_worker.job.sqs import Queue, QueueUnavailable
from chunkflow_worker.job.stub_sqs import StubSqs
from tests.support.queues import BOX, send

AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


@pytest.fixture
def inbox(sqs: StubSqs, queue: Queue) -> Inbox:
    return Inbox(sqs, sqs, queue, wait_seconds=5)


def test_messages_are_received_and_opened(inbox: Inbox, sqs: StubSqs, queue: Queue) -> None:
    for i in range(3):
        send(sqs, queue, task_id=f"id-{i}")
    first = inbox.receive(2)
    assert [d.task_id for d in first.deliveries] == ["id-0", "id-1"]
    assert [d.task_id for d in inbox.receive(10).deliveries] == ["id-2"]
    assert inbox.receive(10) == Received([])
    assert sqs.seconds_hidden(queue.url) == [30] * 3


def test_a_visibility_timeout_of_ones_own(sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    Inbox(sqs, sqs, queue, 5, visibility_seconds=7).receive()
    assert sqs.seconds_hidden(queue.url) == [7]


def test_malformed_messages_go_to_the_dead_letters_unchanged(
    inbox: Inbox, sqs: StubSqs, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    for body in ("junk", '{"headers": {"task": "os.system"}}'):
        sqs.send_message(queue.url, body)
    send(sqs, queue)
    received = inbox.receive(10)
    assert [d.message.bbox for d in received.deliveries] == [BOX]
    assert received.refused == 2
    assert sqs.visible(queue.dead_letter_url) == ["junk", '{"headers": {"task": "os.system"}}']
    assert len(sqs.bodies(queue.url)) == 1
    assert caplog.text.count("refused message") == 2


@pytest.mark.parametrize("error", [AWAY, RuntimeError("anything")])
def test_a_message_that_cannot_be_refused_stays(
    inbox: Inbox,
    sqs: StubSqs,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    sqs.send_message(queue.url, "junk")
    send(sqs, queue)
    sqs.fail["send_message"] = error
    received = inbox.receive(10)
    assert [d.message.bbox for d in received.deliveries] == [BOX], "the others are not lost"
    assert received.refused == 1
    assert sqs.bodies(queue.url)[0] == "junk"
    assert "stays in the queue" in caplog.text


def test_plain_boxes_are_malformed_unless_the_caller_allows_them(
    inbox: Inbox, sqs: StubSqs, queue: Queue
) -> None:
    sqs.send_message(queue.url, BOX)
    allowing = Inbox(sqs, sqs, queue, 5, plain_boxes=True)
    (delivery,) = allowing.receive().deliveries
    assert delivery.plain_body == BOX
    sqs.clock.advance(30)
    assert inbox.receive() == Received([], refused=1)


def test_an_outage_is_one_kind_of_error(inbox: Inbox, sqs: StubSqs) -> None:
    sqs.fail["receive_message"] = AWAY
    with pytest.raises(QueueUnavailable, match=r"queue q: 127\.0\.0\.1 cannot be reached"):
        inbox.receive()


def test_a_released_message_is_visible_at_once(inbox: Inbox, sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    (delivery,) = inbox.receive().deliveries
    assert sqs.visible(queue.url) == []
    inbox.release(delivery)
    assert len(sqs.visible(queue.url)) == 1


def test_a_message_that_cannot_be_released_is_only_logged(
    inbox: Inbox, sqs: StubSqs, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    send(sqs, queue)
    (delivery,) = inbox.receive().deliveries
    sqs.fail["change_message_visibility"] = AWAY
    inbox.release(delivery)
    assert "visible only when its visibility timeout expires" in caplog.text
