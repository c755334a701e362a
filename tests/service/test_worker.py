"""The worker over SQS in memory; its process, and what would end it, are stood in for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import (
    BoxNotAligned,
    ConfigError,
    LeaseLost,
    OutOfMemory,
    Preempted,
    RetryableError,
    StorageFull,
    StorageOutage,
    TaskTooLong,
)
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stub_sqs import StubSqs
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report import cloudwatch
from chunkflow_worker.service import worker as module
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from chunkflow_worker.storage.fence import before_write
from tests.support.queues import BOX, receive, send
from tests.support.records import task_record

Check = Callable[[], None]
AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


def nothing(task: Task, check: Check) -> None:
    check()


@dataclass
class Chain:
    """Stands for a pipeline, closed and open: does what the test says.

    closed: how often the block of its `open` has ended.
    """

    work: Callable[[Task, Check], None] = nothing
    digest: str = "d1"
    ledger_path: str | None = None
    volume_paths: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    operators: tuple[Any, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    closed: int = 0
    close_error: Exception | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self, subscribers: Any, **options: Any) -> Iterator[Chain]:
        self.options = options
        yield self
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error

    def run(self, task: Task, check: Check) -> None:
        self.work(task, check)


@dataclass
class Process:
    """Stands for the process of a worker. status: with which it was ended; None while it runs."""

    status: int | None = None
    stops_asked_for: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def exit(self, status: int) -> None:
        self.status = status
        self.ended.set()

    def ask_to_stop(self) -> None:
        self.stops_asked_for += 1


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(ledger_path=str(tmp_path / "log"))


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def make_worker(
    sqs: StubSqs,
    poller: Poller,
    chain: Chain,
    process: Process,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Worker]]:
    """Make a worker that is open: `make_worker(**settings)`."""
    monkeypatch.setattr(module, "make_client", lambda *_, **__: sqs)
    monkeypatch.setattr(module.logging, "shutdown", lambda: None)
    made: list[Worker] = []

    def make(**settings: Any) -> Worker:
        defaults = {
            "metrics": "none",
            "worker_name": "worker-1",
            "spot_notice": False,
            "health_folder": str(tmp_path),
            "grace_seconds": 0,
        }
        worker = Worker(
            Settings(**defaults | settings),
            chain,  # type: ignore[arg-type]
            poller,
            clock=sqs.clock,
            exit_process=process.exit,
            ask_to_stop=process.ask_to_stop,
        )
        made.append(worker)
        worker.open()
        return worker

    yield make
    for worker in made:
        worker._ending.set()
        worker.close()


def failing_with(error: BaseException) -> Callable[[Task, Check], None]:
    def work(task: Task, check: Check) -> None:
        raise error

    return work


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

    monkeypatch.setattr(type(worker.handler), "handle", handle)
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


def test_a_lost_lease_leaves_the_message_to_the_other_worker(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    worker = make_worker()
    sends = 0

    def work(task: Task, check: Check) -> None:
        nonlocal sends
        sqs.clock.advance(60)
        receive(sqs, queue)
        (held,) = worker.in_hand.all()
        assert held.lease.renew() is None
        sends = sqs.called("send_message")
        with pytest.raises(LeaseLost):
            check()
        check()

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert sqs.called("send_message") == sends
    assert len(sqs.bodies(queue.url)) == 1
    record = worker.ledger.read(BOX)
    assert record is not None
    assert record.state == "failed"
    assert "lease lost" in record.error


def test_a_task_outlives_an_outage_of_sqs_that_is_longer_than_its_lease(
    make_worker: Callable[..., Worker], chain: Chain, sqs: StubSqs, queue: Queue
) -> None:
    """SQS then delivers the message again, twice: while the task runs, and when it is done."""
    worker = make_worker(lease_seconds=30)
    again: list[Delivery] = []

    def work(task: Task, check: Check) -> None:
        (held,) = worker.in_hand.all()
        sqs.fail["change_message_visibility"] = AWAY
        for _ in range(10):
            sqs.clock.advance(9)
            assert held.lease.renew() is not None
            check()
        sqs.fail.clear()
        again.append(receive(sqs, queue))
        worker.run(again[0])
        assert len(sqs.bodies(queue.url)) == 1
        assert held.lease.renew() is not None, "the message is another's, the task is not"
        check()

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert again[0].attempt == 2
    record = worker.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts) == ("done", 1)
    assert sqs.visible(queue.url) == [], "it was put back with a delay"
    sqs.clock.advance(30)
    last = receive(sqs, queue)
    assert last.attempt == 2, "the receive that SQS lost counts once"
    chain.work = failing_with(AssertionError("it must not run again"))
    worker.run(last)
    assert sqs.bodies(queue.url) == []
    assert [f for f in worker.ledger.files.list() if "held" in f] == []


def denied(action: str) -> ClientError:
    text = f"User: arn:aws:iam::1:user/u is not authorized to perform: sqs:{action} on resource: q"
    return ClientError({"Error": {"Code": "AccessDenied", "Message": text}}, action)


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("change_message_visibility", "ChangeMessageVisibility"),
        ("delete_message", "DeleteMessage"),
        ("receive_message", "ReceiveMessage"),
    ],
)
def test_a_role_that_lacks_a_permission_stops_the_worker_with_its_name(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    poller: Poller,
    process: Process,
    caplog: pytest.LogCaptureFixture,
    method: str,
    action: str,
) -> None:
    worker = make_worker()

    def work(task: Task, check: Check) -> None:
        sqs.fail[method] = denied(action)
        (held,) = worker.in_hand.all()
        held.lease.renew()
        if method == "receive_message":
            assert poller.poll(1) == []

    chain.work = work
    worker.run(receive(sqs, queue, BOX))
    assert process.ended.wait(10)
    assert process.status == 2
    assert f"allow sqs:{action}" in caplog.text
    assert sqs.bodies(queue.url) or worker.ledger.is_done(BOX), "nothing is lost"


def test_what_a_process_that_ends_wrote_late_is_noted(
    make_worker: Callable[..., Worker],
    chain: Chain,
    sqs: StubSqs,
    queue: Queue,
    process: Process,
) -> None:
    """It was paused in the midst of a write, and told to stop meanwhile."""
    worker = make_worker()
    worker.ledger.write(task_record(BOX, pipeline="another"))
    chain.models = {"inference.model": "abc"}
    ended = threading.Event()

    def work(task: Task, check: Check) -> None:
        before_write()
        sqs.clock.advance(60)
        worker.stop()
        ended.set()
        assert process.ended.wait(10)

    chain.work = work
    thread = threading.Thread(target=worker.run, args=(receive(sqs, queue, BOX),))
    thread.start()
    assert process.ended.wait(10)
    thread.join(10)
    assert worker.ledger.listing().late == {BOX}


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

    monkeypatch.setattr(type(worker.handler.patience), "_wait", wait)
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


# Stopping


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
