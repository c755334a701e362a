"""How a worker stops, and what becomes of the tasks that it has in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chunkflow_worker.errors import TaskTooLong
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from tests.service.stand_ins import AWAY, Chain, Check, Process
from tests.support.queues import BOX, receive, send


def test_what_was_opened_is_closed_when_the_worker_ends(
    make_worker: Callable[..., Worker], chain: Chain
) -> None:
    worker = make_worker()
    assert chain.closed == 0
    worker.close()
    worker.close()
    assert chain.closed == 1


def test_an_operator_that_fails_to_close_does_not_keep_the_worker(
    make_worker: Callable[..., Worker], chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    chain.close_error = ValueError("busy")
    make_worker().close()
    assert "an operator did not close: ValueError: busy" in caplog.text


@dataclass
class Busy:
    """A task that runs until the test says so, in a thread as of Celery's pool."""

    worker: Worker
    thread: threading.Thread
    go_on: threading.Event

    def finish(self) -> None:
        self.go_on.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def busy(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> Iterator[Callable[..., Busy]]:
    """Make a worker with a task in hand: `busy(**settings)`."""
    made: list[Busy] = []

    def make(**settings: Any) -> Busy:
        worker = make_worker(**settings)
        running, go_on = threading.Event(), threading.Event()

        def work(task: Task, check: Check) -> None:
            running.set()
            assert go_on.wait(10)
            check()

        chain.work = work
        thread = threading.Thread(target=worker.run, args=(receive(sqs, queue, BOX),))
        thread.start()
        assert running.wait(10)
        made.append(Busy(worker, thread, go_on))
        return made[-1]

    yield make
    for each in made:
        each.finish()


def test_stopping_gives_back_what_does_not_end_in_time(
    busy: Callable[..., Busy], process: Process, chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    task = busy(grace_seconds=0)
    task.worker.stop()
    assert process.ended.wait(10)
    assert process.status == 0
    (body,) = sqs.visible(queue.url)
    assert open_envelope(body, queue.name)[0].attempts == 0
    assert chain.closed == 0, "a task still uses what was opened"
    task.finish()
    assert task.worker.ledger.boxes() == (set(), set())
    assert len(sqs.visible(queue.url)) == 1, "its late end changes nothing"


def test_stopping_gives_back_no_task_that_is_done(
    busy: Callable[..., Busy],
    process: Process,
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its message may not be deleted yet; a fresh copy of it would be done again."""
    recorded, go_on, acknowledge = threading.Event(), threading.Event(), Lease.acknowledge

    def acknowledge_late(lease: Lease) -> None:
        recorded.set()
        assert go_on.wait(10)
        acknowledge(lease)

    monkeypatch.setattr(Lease, "acknowledge", acknowledge_late)
    task = busy(grace_seconds=60)
    task.go_on.set()
    assert recorded.wait(10)
    task.worker.stop()
    task.worker.stop()
    assert process.ended.wait(10)
    assert sqs.visible(queue.url) == []
    go_on.set()
    task.finish()
    assert sqs.bodies(queue.url) == []


def test_tasks_may_finish_within_the_grace_period(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy(grace_seconds=60)
    task.worker.stop()
    task.finish()
    assert task.worker.ledger.is_done(BOX)
    assert sqs.bodies(queue.url) == []
    assert process.status is None, "Celery ends the process by itself"


def test_a_second_stop_ends_the_grace_period(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy(grace_seconds=60)
    task.worker.stop()
    assert not process.ended.is_set()
    task.worker.stop()
    assert process.ended.wait(10)
    assert len(sqs.visible(queue.url)) == 1


def test_stopping_releases_what_was_received_and_not_started(
    busy: Callable[..., Busy], process: Process, poller: Poller, sqs: StubSqs, queue: Queue
) -> None:
    task = busy(grace_seconds=0)
    send(sqs, queue, "0-4_0-4_8-16")
    assert len(poller.poll(1)) == 1
    task.worker.stop()
    assert process.ended.wait(10)
    assert len(sqs.visible(queue.url)) == 2


def test_a_message_that_cannot_be_given_back_is_left_to_its_lease(
    busy: Callable[..., Busy],
    process: Process,
    sqs: StubSqs,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = busy()
    sqs.fail["send_message"] = AWAY
    task.worker.stop()
    assert process.ended.wait(10)
    assert "becomes visible again when its lease expires" in caplog.text
    assert len(sqs.bodies(queue.url)) == 1
    del sqs.fail["send_message"]


def test_a_hung_task_is_recorded_and_delayed_and_the_process_ends(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy(backoff_seconds=10)
    sqs.clock.advance(5)
    (held,) = task.worker.in_hand.all()
    task.worker.end(71, {held: TaskTooLong("ended after 5 s")})
    assert process.status == 71
    record = task.worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.error, record.attempts) == ("failed", "ended after 5 s", 1)
    assert record.seconds >= 5
    assert sqs.seconds_hidden(queue.url) == [10]


def test_tasks_beside_a_hung_one_are_given_back(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy()
    task.worker.end(72, {})
    assert process.status == 72
    assert len(sqs.visible(queue.url)) == 1
    assert task.worker.ledger.boxes() == (set(), set())


def test_a_failing_task_that_has_ended_meanwhile_is_left_alone(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy()
    (held,) = task.worker.in_hand.all()
    task.finish()
    task.worker.end(71, {held: TaskTooLong("too late")})
    assert process.status == 71
    assert task.worker.ledger.is_done(BOX)


def test_an_end_at_once_settles_nothing(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    task = busy()
    task.worker.end(70, {}, at_once=True)
    assert process.status == 70
    assert sqs.visible(queue.url) == []
    assert len(sqs.bodies(queue.url)) == 1


def test_a_worker_that_drains_ends_with_the_status_of_a_fault(
    busy: Callable[..., Busy], process: Process, sqs: StubSqs
) -> None:
    task = busy(grace_seconds=60)
    task.worker.stop()
    (held,) = task.worker.in_hand.all()
    task.worker.end(71, {held: TaskTooLong("hung")})
    sqs.clock.advance(61)
    assert process.status == 71
