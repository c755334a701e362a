"""The worker over SQS in memory; its process, and what would end it, are stood in for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import (
    BoxNotAligned,
    ConfigError,
    OutOfMemory,
    Preempted,
    RetryableError,
    StorageFull,
    StorageOutage,
)
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.state import JobState
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report import cloudwatch
from chunkflow_worker.service import worker as module
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from tests.service.stand_ins import AWAY, Chain, Check, Process, failing_with
from tests.support.queues import BOX, receive, send

# Running and settling


def test_a_task_that_is_done_is_recorded_and_then_acknowledged(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    recorded_first: list[bool] = []
    delete = sqs.delete_message

    def note(**arguments: Any) -> None:
        recorded_first.append(worker.ledger.is_done(BOX))
        delete(**arguments)

    sqs.delete_message = note  # type: ignore[method-assign]
    worker.run(receive(sqs, queue, BOX))
    assert recorded_first == [True]
    assert sqs.bodies(queue.url) == []
    record = worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.worker, record.pipeline) == ("done", "worker-1", "d1")
    assert chain.options == {"recorded": True}
    assert len(worker.in_hand) == 0


def test_another_task_may_work_while_one_is_recorded(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = make_worker()
    write = worker.ledger.write_unless_late
    free: list[int] = []
    values: list[dict[str, Any]] = []

    def note(record: Record) -> Record | None:
        free.append(poller.places.free)
        values.append(made[0].values)
        return write(record)

    made: list[Task] = []

    def work(task: Task, check: Check) -> None:
        task.values["chunk"] = "many voxels"
        made.append(task)
        free.append(poller.places.free)

    monkeypatch.setattr(worker.ledger, "write_unless_late", note)
    chain.work = work
    assert poller.places.reserve(1, 0) == 1
    worker.run(receive(sqs, queue, BOX))
    assert free == [1, 2]
    assert values == [{}], "its memory is free, too"
    assert poller.places.free == 2


@pytest.mark.parametrize(
    ("receives", "delay"), [(1, 10), (2, 20)], ids=["first attempt", "second attempt"]
)
def test_a_failed_task_comes_back_after_a_growing_delay(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    receives: int,
    delay: int,
) -> None:
    worker = make_worker(backoff_seconds=10)
    chain.work = failing_with(RetryableError("x"))
    send(sqs, queue)
    for _ in range(receives):
        sqs.clock.advance(30)
        delivery = receive(sqs, queue)
    worker.run(delivery)
    assert sqs.seconds_hidden(queue.url) == [delay]
    record = worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts, record.final) == ("failed", receives, False)


def test_the_delay_has_a_limit(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker(backoff_seconds=900)
    chain.work = failing_with(RetryableError("x"))
    send(sqs, queue)
    for _ in range(2):
        sqs.clock.advance(30)
        delivery = receive(sqs, queue)
    worker.run(delivery)
    assert sqs.seconds_hidden(queue.url) == [900]


def test_after_the_last_attempt_sqs_moves_the_message_itself(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    chain.work = failing_with(RetryableError("x"))
    send(sqs, queue)
    for _ in range(3):
        sqs.clock.advance(30)
        delivery = receive(sqs, queue)
    worker.run(delivery)
    assert len(sqs.visible(queue.url)) == 1
    record = worker.ledger.read(BOX)
    assert record is not None
    assert record.final
    assert sqs.receive_message(queue.url) == {}
    assert len(sqs.bodies(queue.dead_letter_url)) == 1


def test_attempts_of_earlier_copies_count_where_sqs_cannot_know_them(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    chain.work = failing_with(RetryableError("x"))
    send(sqs, queue, attempts=2)
    worker.run(receive(sqs, queue))
    assert sqs.bodies(queue.url) == []
    (body,) = sqs.bodies(queue.dead_letter_url)
    assert open_envelope(body, queue.name)[0].attempts == 0


def test_what_can_never_succeed_is_a_dead_letter_at_once(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    chain.work = failing_with(BoxNotAligned("shares blocks"))
    worker.run(receive(sqs, queue, BOX))
    assert sqs.bodies(queue.url) == []
    assert len(sqs.bodies(queue.dead_letter_url)) == 1


@pytest.mark.parametrize("error", [Preempted("stop"), StorageOutage("away for long")])
def test_what_is_not_the_fault_of_the_task_costs_it_no_attempt(
    make_worker: Callable[..., Worker],
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    worker = make_worker()

    def handle(self: Any, delivery: Delivery, *checks: Check) -> None:
        raise error

    monkeypatch.setattr(Handler, "handle", handle)
    worker.run(receive(sqs, queue, BOX))
    (body,) = sqs.visible(queue.url)
    assert open_envelope(body, queue.name)[0].attempts == 0
    assert receive(sqs, queue).attempt == 1
    assert worker.ledger.boxes() == (set(), set())


def test_a_message_for_another_pipeline_stops_the_worker_once(
    make_worker: Callable[..., Worker], process: Process, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker(backoff_seconds=10)
    for expected in (1, 1):
        send(sqs, queue, pipeline="d2")
        worker.run(receive(sqs, queue))
        assert process.stops_asked_for == expected
        worker._stopping.set()  # as when Celery has called `stop`
    assert sqs.seconds_hidden(queue.url) == [10, 10]


def test_a_message_that_cannot_be_settled_is_left_to_its_lease(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = make_worker()
    chain.work = failing_with(BoxNotAligned("shares blocks"))
    delivery = receive(sqs, queue, BOX)
    sqs.fail["send_message"] = AWAY
    worker.run(delivery)
    assert "becomes visible again when its lease expires" in caplog.text
    assert len(sqs.bodies(queue.url)) == 1
    assert sqs.bodies(queue.dead_letter_url) == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("x")])
def test_no_exception_costs_celery_a_thread(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue, error: Exception
) -> None:
    worker = make_worker(backoff_seconds=10)
    chain.work = failing_with(error)
    worker.run(receive(sqs, queue, BOX))
    assert sqs.seconds_hidden(queue.url) == [10]


def test_a_fault_that_the_guard_finds_fails_the_task_at_its_next_check(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()

    def work(task: Task, check: Check) -> None:
        (held,) = worker.in_hand.all()
        held.fault = OutOfMemory("out of memory: 95 of 100 bytes")
        check()

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    record = worker.ledger.read(BOX)
    assert record is not None
    assert record.error == "out of memory: 95 of 100 bytes"


def test_time_spent_waiting_for_storage_does_not_count(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guard counts the time of a task from `started`."""
    worker = make_worker()
    started: list[float] = []
    errors = [StorageFull("out: no space left")]

    def wait(self: Any, seconds: float, since: float, check_waiting: Check) -> None:
        sqs.clock.advance(25)
        check_waiting()

    def work(task: Task, check: Check) -> None:
        if errors:
            raise errors.pop()
        started.extend(held.started for held in worker.in_hand.all())

    monkeypatch.setattr(Patience, "_wait", wait)
    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert started == [25]
    assert worker.ledger.is_done(BOX)


# Opening


def test_a_chain_that_saves_no_volume_needs_a_ledger(
    chain: Chain, poller: Poller, make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    chain.ledger_path = None
    with pytest.raises(ConfigError, match="set CHUNKFLOW_LEDGER"):
        make_worker()
    assert make_worker(ledger=str(tmp_path / "other")).ledger.path.endswith("other")


@pytest.mark.parametrize(("given", "seconds"), [(None, 30), (7, 7)])
def test_the_lease_is_the_visibility_timeout_unless_it_is_set(
    make_worker: Callable[..., Worker], given: int | None, seconds: int
) -> None:
    assert make_worker(lease_seconds=given).lease_seconds == seconds


def test_a_spot_notice_drains_the_worker(
    make_worker: Callable[..., Worker], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def wait_for_notice(notify: Callable[[str], None], stop: threading.Event) -> None:
        notify("terminate at noon")
        told.set()

    monkeypatch.setattr(module, "wait_for_notice", wait_for_notice)
    make_worker(spot_notice=True)
    assert told.wait(10)
    assert process.stops_asked_for == 1


def test_metrics_are_sent_and_closed_with_the_worker(
    make_worker: Callable[..., Worker], sqs: StubSqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Client:
        def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
            sent.extend(MetricData)

    monkeypatch.setattr(cloudwatch, "make_client", lambda region: Client())
    worker = make_worker(metrics="cloudwatch")
    worker.run(receive(sqs, queue, BOX))
    worker.close()
    assert {"TaskSeconds", "TasksSucceeded"} <= {datum["MetricName"] for datum in sent}


def test_a_message_of_a_paused_job_is_put_aside_and_later_done_as_a_first_attempt(
    make_worker: Callable[..., Worker], sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker(control_seconds=10)
    worker.ledger.states.write("job", JobState.now("paused", "me"))
    worker.run(receive(sqs, queue, BOX))
    assert sqs.seconds_hidden(queue.url) == [5]
    worker.ledger.states.write("job", JobState.now("running", "me"))
    sqs.clock.advance(10)
    worker.run(receive(sqs, queue))
    record = worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts) == ("done", 1)
    assert sqs.bodies(queue.url) == []


def test_a_message_of_a_cancelled_job_is_deleted(
    make_worker: Callable[..., Worker], sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    worker.ledger.states.write("job", JobState.now("cancelled", "me"))
    worker.run(receive(sqs, queue, BOX))
    assert (sqs.bodies(queue.url), sqs.bodies(queue.dead_letter_url)) == ([], [])
    assert worker.ledger.read(BOX) is None


def test_only_messages_of_paused_jobs_count_as_put_aside(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, noted = make_worker(), list[bool]()
    monkeypatch.setattr(worker.poller, "note", lambda put_aside: noted.append(put_aside))
    worker.run(receive(sqs, queue, BOX))
    chain.work = failing_with(RetryableError("x"))
    worker.run(receive(sqs, queue, "0-4_0-4_8-16"))
    worker.ledger.states.write("paused", JobState.now("paused", "me"))
    send(sqs, queue, job="paused")
    worker.run(receive(sqs, queue))
    assert noted == [False, False, True]
