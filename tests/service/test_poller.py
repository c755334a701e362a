from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stub_sqs import StubSqs
from chunkflow_worker.service.poller import Messages, Poller
from tests.support.queues import BOX, send

AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


@pytest.fixture
def pauses(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between failed polls, which end at once."""
    noted: list[float] = []
    monkeypatch.setattr(poller._closing, "wait", noted.append)
    return noted


def test_messages_are_received_as_kombu_takes_them(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    send(sqs, queue, attempts=2)
    (message,) = poller.poll(2)
    assert message["Attributes"] == {"ApproximateReceiveCount": "1"}
    expected = TaskMessage(job="job", bbox=BOX, attempts=2)
    assert open_envelope(message["Body"], queue.name) == (expected, "id")
    delivery = message["Delivery"]
    assert (delivery.message, delivery.receipt) == (expected, message["ReceiptHandle"])
    assert delivery.message_id == message["MessageId"]


def test_an_envelope_of_the_sender_never_reaches_celery(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    body = encode(TaskMessage(job="job", bbox=BOX), queue.name, "id")
    sqs.send_message(queue.url, body.replace('"lang":"py"', '"lang":"py","shadow":"x"'))
    (message,) = poller.poll(10)
    assert message["Body"] == body


def test_a_malformed_message_is_refused(poller: Poller, sqs: StubSqs, queue: Queue) -> None:
    sqs.send_message(queue.url, "junk")
    assert poller.poll(10) == []
    assert sqs.visible(queue.dead_letter_url) == ["junk"]


def test_polls_that_fail_are_one_outage_with_growing_pauses(
    poller: Poller,
    sqs: StubSqs,
    queue: Queue,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sqs.fail["receive_message"] = AWAY
    for _ in range(7):
        assert poller.poll(1) == []
    assert pauses == [1, 2, 4, 8, 10, 10, 10]
    assert poller.outage.is_on
    assert caplog.text.count("does not answer") == 1
    del sqs.fail["receive_message"]
    send(sqs, queue)
    assert len(poller.poll(1)) == 1
    assert not poller.outage.is_on
    sqs.fail["receive_message"] = AWAY
    poller.poll(1)
    assert pauses[-1] == 1, "the next outage begins anew"


def test_every_poll_is_a_turn_of_the_loop(
    poller: Poller, sqs: StubSqs, pauses: list[float]
) -> None:
    for second in (10, 20):
        sqs.clock.now = second
        poller.poll(1)
        assert poller.last_turn == second
        sqs.fail["receive_message"] = AWAY


def test_what_was_received_is_delivered(poller: Poller, sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    delivered: list[Messages] = []
    done = threading.Event()

    def deliver(messages: Messages) -> None:
        delivered.append(messages)
        done.set()

    poller.start(1, deliver)
    assert done.wait(10)
    ((message,),) = delivered
    assert message["Delivery"].task_id == "id"


def test_a_message_is_taken_once(poller: Poller, sqs: StubSqs, queue: Queue) -> None:
    send(sqs, queue)
    (message,) = poller.poll(1)
    assert poller.take(message)
    assert not poller.take(message)


def test_closing_releases_what_no_task_has_taken(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    for i in range(3):
        send(sqs, queue, task_id=f"id-{i}")
    taken, *left = poller.poll(3)
    assert poller.take(taken)
    poller.close()
    assert sqs.visible(queue.url) == [message["Body"] for message in left]
    assert not any(map(poller.take, left)), "released messages are not handed to Celery"
    poller.close()
    assert sqs.called("change_message_visibility") == 2


def test_what_a_poll_receives_while_the_worker_stops_is_released(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    send(sqs, queue)
    poller.close()
    assert poller.poll(1) == []
    assert len(sqs.visible(queue.url)) == 1


def test_no_poll_starts_after_closing(poller: Poller) -> None:
    poller.close()
    delivered: list[Any] = []
    poller.start(1, delivered.append)
    assert delivered == []


def test_a_poll_that_was_cancelled_delivers_nothing(
    poller: Poller, sqs: StubSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery waits for every poll that it has started."""
    polling, go_on = threading.Event(), threading.Event()

    def poll(count: int) -> Messages:
        polling.set()
        assert go_on.wait(10)
        return [{"Body": "x"}]

    monkeypatch.setattr(poller, "poll", poll)
    delivered: list[Messages] = []
    poller.start(1, delivered.append)
    poller.start(1, delivered.append)
    assert polling.wait(10)
    closing = threading.Thread(target=poller.close)
    closing.start()
    poller._closing.wait(10)
    go_on.set()
    closing.join(10)
    assert sorted(map(len, delivered)) == [0, 1]
