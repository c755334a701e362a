from __future__ import annotations

import threading
from concurrent.futures import Future
from time import monotonic
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.service import poller as module
from chunkflow_worker.service.poller import Messages, Poller
from tests.support.queues import BOX, send

AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


@pytest.fixture
def pauses(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between failed polls, which end at once."""
    noted: list[float] = []
    monkeypatch.setattr(poller._closing, "wait", noted.append)
    return noted


def received(poller: Poller) -> Messages:
    """What one poll for the places that are free now delivers."""
    delivered = Future[Messages]()
    poller.start(delivered.set_result)
    return delivered.result(10)


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
    (message,) = received(poller)
    assert message["Delivery"].task_id == "id"


def test_as_many_are_received_at_once_as_there_are_free_places(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    for i in range(4):
        send(sqs, queue, task_id=f"id-{i}")
    assert len(received(poller)) == 2
    assert poller.places.free == 0
    assert sqs.called("receive_message") == 1


def test_places_for_which_no_message_came_are_free_again(
    poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    send(sqs, queue)
    assert len(received(poller)) == 1
    assert poller.places.free == 1
    assert received(poller) == []
    assert poller.places.free == 1


def test_a_place_that_becomes_free_is_filled_at_once(
    poller: Poller, sqs: StubSqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = noted_wait(poller, monkeypatch)
    send(sqs, queue)
    poller.places.reserve(2, 0)
    delivered = Future[Messages]()
    poller.start(delivered.set_result)
    with poller.places.taken():
        assert waiting.wait(10)
        assert sqs.called("receive_message") == 0
    assert len(delivered.result(10)) == 1


def test_closing_does_not_wait_for_a_place(
    poller: Poller, sqs: StubSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = noted_wait(poller, monkeypatch)
    poller.places.reserve(2, 0)
    delivered = Future[Messages]()
    poller.start(delivered.set_result)
    assert waiting.wait(10)
    poller.close()
    assert delivered.result(10) == []
    assert sqs.called("receive_message") == 0


def noted_wait(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make waits for a place last until one is free; the event that is set when one begins."""
    waiting = threading.Event()
    wait = poller.places._changed.wait

    def wait_long(seconds: float) -> bool:
        waiting.set()
        return wait(60)

    monkeypatch.setattr(poller.places._changed, "wait", wait_long)
    return waiting


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
    poller.start(delivered.append)
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
    poller.start(delivered.append)
    poller.start(delivered.append)
    assert polling.wait(10)
    closing = threading.Thread(target=poller.close)
    closing.start()
    poller._closing.wait(10)
    go_on.set()
    closing.join(10)
    assert sorted(map(len, delivered)) == [0, 1]


def test_polls_become_rare_when_for_long_there_were_only_messages_of_paused_jobs(
    poller: Poller, sqs: StubSqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module, "monotonic", lambda: sum(waits))
    monkeypatch.setattr(poller._closing, "wait", waits.append)

    def rested() -> float:
        """Seconds before the next poll."""
        waits.clear()
        assert poller._fill_places() == []
        return sum(waits)

    poller.note(put_aside=True)
    assert rested() == 0, "at first they are put aside at full speed"
    sqs.clock.advance(601)
    poller.note(put_aside=True)
    assert rested() == 10
    assert waits == [1.0] * 10, "the watchdog sees that it goes round"
    assert poller.last_turn == sqs.clock()
    assert rested() == 0, "an empty queue is asked by long polls"
    poller.note(put_aside=True)
    poller.note(put_aside=False)
    assert rested() == 0, "there was something to do"


def test_a_rest_ends_when_the_worker_stops(poller: Poller, sqs: StubSqs) -> None:
    sqs.clock.advance(601)
    poller.note(put_aside=True)
    poller._closing.set()
    began = monotonic()
    poller._rest()
    assert monotonic() - began < 1
