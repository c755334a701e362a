from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from chunkflow_worker.errors import (
    BoxOutsideJob,
    JobPaused,
    LeaseLost,
    PermanentError,
    PipelineMismatch,
    Preempted,
    RetryableError,
    StorageFull,
    StorageOutage,
    StorageUnavailable,
    TaskHeld,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.hold import Holds
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.state import JobState
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import TaskDropped, TaskFailed, TaskFinished, TaskStarted
from chunkflow_worker.service.breaker import Breaker
from chunkflow_worker.service.control import Control
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.storage.fence import before_write
from tests.support.records import task_record

BOX = "0-4_0-4_0-8"


def delivery(task_id: str = "id-1", receives: int = 1, **fields: Any) -> Delivery:
    """A message of the box that was received so many times."""
    message = TaskMessage.model_validate({"job": "job", "bbox": BOX} | fields)
    return Delivery(message, task_id, receives)


class Chain:
    """Stands for an open pipeline: does what the test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.runs = 0

    def run(self, task: Task, check: Any) -> None:
        self.runs += 1
        check()
        with task.timed("step"):
            task.device = "test device"
        if self.error is not None:
            raise self.error


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def seen() -> list[Any]:
    return []


def make_handler(
    folder: Path, chain: Any, digest: str = "d1", worker: str = "worker-1", **options: Any
) -> Handler:
    """A handler of three attempts, whose ledger is the folder."""
    return Handler(chain, digest, Ledger(str(folder)), worker, 3, **options)


@pytest.fixture
def handler(tmp_path: Path, chain: Chain, seen: list[Any]) -> Handler:
    return make_handler(tmp_path, chain, subscribers=(seen.append,))


def test_done_task_is_recorded_and_told(handler: Handler, seen: list[Any]) -> None:
    handler.handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.job, record.task_id, record.attempts) == ("done", "job", "id-1", 1)
    assert (record.worker, record.compute_device, record.voxels) == ("worker-1", "test device", 128)
    assert record.pipeline == "d1"
    assert record.versions["chunkflow-worker"]
    started, finished = seen
    assert started == TaskStarted("job", BoundingBox.parse(BOX), 1)
    assert isinstance(finished, TaskFinished)
    assert finished.operators == record.timer
    assert finished.seconds == record.seconds


def test_skipped_task_is_done_with_its_reason(
    handler: Handler, chain: Chain, seen: list[Any]
) -> None:
    chain.error = SkipTask("all black")
    handler.handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.skipped) == ("skipped", "all black")
    assert seen[-1].state == "skipped"


@pytest.mark.parametrize(
    ("error", "receives", "final"),
    [
        (RetryableError("away"), 1, False),
        (RetryableError("away"), 3, True),
        (PermanentError("bad"), 1, True),
    ],
)
def test_failure_is_recorded_and_raised(
    handler: Handler, chain: Chain, seen: list[Any], error: Exception, receives: int, final: bool
) -> None:
    chain.error = error
    with pytest.raises(type(error)):
        handler.handle(delivery("id-1", receives))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.error, record.final, record.attempts) == (
        "failed",
        str(error),
        final,
        receives,
    )
    assert isinstance(seen[-1], TaskFailed)
    assert seen[-1].final is final


def test_record_of_a_failure_holds_what_was_logged_and_where_it_came_from(
    handler: Handler, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task: Task, check: Any) -> None:
        logging.getLogger("net").warning("loss is %s, aws_secret_access_key=abcdefgh", "high")
        try:
            task.values["absent"]
        except KeyError as error:
            raise RetryableError("wrapped") from error

    monkeypatch.setattr(chain, "run", run)
    with pytest.raises(RetryableError):
        handler.handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert record.log[0].endswith("WARNING net: loss is high, aws_secret_access_key=***")
    assert record.log[-1] == "KeyError: 'absent'"
    monkeypatch.setattr(chain, "run", lambda *_: None)
    handler.handle(delivery("id-1", 2))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.log) == ("done", [])


def test_success_takes_the_failure_away(handler: Handler, chain: Chain) -> None:
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(delivery())
    chain.error = None
    handler.handle(delivery("id-1", 2))
    assert handler.ledger.boxes() == ({BOX}, set())


def test_late_failure_does_not_overwrite_a_success(handler: Handler, chain: Chain) -> None:
    handler.handle(delivery())
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(delivery("id-2", 2))
    assert handler.ledger.boxes() == ({BOX}, set())


def test_redelivered_message_of_a_done_task_runs_nothing(
    handler: Handler, chain: Chain, seen: list[Any]
) -> None:
    handler.handle(delivery())
    handler.handle(delivery("id-1", 2))
    assert chain.runs == 1
    assert len(seen) == 2
    handler.handle(delivery("id-2", 2))
    assert chain.runs == 2, "another message for the same box, as after a second enqueue, does run"


def test_attempts_of_earlier_copies_count(handler: Handler, chain: Chain) -> None:
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(delivery(attempts=2))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.attempts, record.final) == (3, True)


def test_preemption_is_no_failure(handler: Handler, seen: list[Any]) -> None:
    def check() -> None:
        raise Preempted("stop")

    with pytest.raises(Preempted):
        handler.handle(delivery(), check)
    assert handler.ledger.boxes() == (set(), set())
    assert [type(e) for e in seen] == [TaskStarted]


def test_an_outage_that_goes_on_is_no_failure(
    handler: Handler, chain: Chain, seen: list[Any], tmp_path: Path
) -> None:
    chain.error = StorageFull("out: no space left")
    with pytest.raises(StorageOutage, match="no space left"):
        replace(handler, patience=Patience(str(tmp_path), [], hold_seconds=0)).handle(delivery())
    assert handler.ledger.boxes() == (set(), set())
    assert [type(e) for e in seen] == [TaskStarted]


def test_message_for_another_pipeline_is_left_alone(handler: Handler, chain: Chain) -> None:
    with pytest.raises(PipelineMismatch, match="is for pipeline d2"):
        handler.handle(delivery(pipeline="d2"))
    assert chain.runs == 0
    assert handler.ledger.boxes() == (set(), set())


def test_the_failure_of_a_task_whose_thread_hangs_is_recorded(
    handler: Handler, seen: list[Any]
) -> None:
    handler.give_up(delivery(receives=2), 90.0, RetryableError("hung"))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.error, record.attempts, record.final) == (
        "failed",
        "hung",
        2,
        False,
    )
    assert record.seconds == pytest.approx(90, abs=1)
    began, ended = (datetime.fromisoformat(text) for text in (record.started, record.finished))
    assert (ended - began).total_seconds() == pytest.approx(90, abs=1)
    handler.give_up(delivery(receives=3), 90.0, RetryableError("hung"))
    assert [event.final for event in seen] == [False, True]


def test_a_failure_that_cannot_be_recorded_is_still_published(
    handler: Handler, seen: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def away(*_: Any) -> None:
        raise StorageUnavailable("ledger: away")

    monkeypatch.setattr(Ledger, "write", away)
    handler.give_up(delivery(), 1.0, RetryableError("hung"))
    assert [type(event) for event in seen] == [TaskFailed]
    assert "was not recorded: ledger: away" in caplog.text


def test_time_spent_waiting_for_storage_does_not_count(
    handler: Handler, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try has a clock and a task of its own."""
    tasks: list[Task] = []

    def run(task: Task, check: Any) -> None:
        tasks.append(task)
        with task.timed("step"):
            task.patches += 1
        if len(tasks) == 1:
            sleep(0.3)
            raise StorageUnavailable("away for a moment")

    monkeypatch.setattr(chain, "run", run)
    replace(handler, patience=Patience(str(tmp_path), [])).handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert len(tasks) == 2
    assert (record.state, record.patches) == ("done", 1)
    assert record.seconds < 0.3


def test_a_box_that_the_job_does_not_have_runs_nothing(
    handler: Handler, chain: Chain, seen: list[Any]
) -> None:
    grid = {"bounding_box": "0-4_0-4_8-16"}
    handler.ledger.write_job(JobRecord(job="job", queue="q", tasks=1, grid=grid))
    with pytest.raises(BoxOutsideJob):
        replace(handler, jobs=Jobs(handler.ledger)).handle(delivery())
    assert chain.runs == 0
    assert seen[-1].final


def test_a_refused_message_does_not_replace_what_is_known_of_a_box(handler: Handler) -> None:
    handler.ledger.write(task_record(BOX, "failed", error="out of memory"))
    grid = {"bounding_box": "0-4_0-4_8-16"}
    handler.ledger.write_job(JobRecord(job="another", queue="q", tasks=1, grid=grid))
    with pytest.raises(BoxOutsideJob, match="has no job job, but others"):
        replace(handler, jobs=Jobs(handler.ledger)).handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert record.error == "out of memory"


# Leases that end


def test_a_lost_lease_is_recorded(handler: Handler, chain: Chain) -> None:
    chain.error = LeaseLost("lease lost: the process stood still")
    with pytest.raises(LeaseLost):
        handler.handle(delivery())
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.final) == ("failed", False)
    assert "stood still" in record.error


class Writes(Chain):
    """A chain that writes. meanwhile: what happens during the writes, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Any] = []

    def run(self, task: Task, check: Any) -> None:
        super().run(task, check)
        before_write()
        if self.meanwhile:
            self.meanwhile.pop(0)()


def worker_of(folder: Path, chain: Chain, digest: str) -> Handler:
    return make_handler(folder, chain, digest, f"worker of {digest}")


def lose_during_a_write(folder: Path, digest: str) -> None:
    """A worker is paused in the middle of a write, and goes on when its lease has ended."""
    chain = Writes()
    paused: list[bool] = []

    def check() -> None:
        if paused:
            raise LeaseLost("lease lost: the process stood still")

    chain.meanwhile.append(lambda: paused.append(True))
    with pytest.raises(LeaseLost):
        worker_of(folder, chain, digest).handle(delivery("old"), check)


def done_beside_a_late_write(folder: Path, digest: str) -> tuple[Handler, int]:
    """Do the task by the chain `new` while another worker writes late, by the chain of `digest`.

    Returns the handler, and how often it ran its chain.
    """
    chain = Writes()
    chain.meanwhile.append(lambda: lose_during_a_write(folder, digest))
    handler = worker_of(folder, chain, "new")
    handler.handle(delivery("new"))
    return handler, chain.runs


def test_a_late_write_of_another_chain_is_undone_by_who_does_the_task(tmp_path: Path) -> None:
    handler, runs = done_beside_a_late_write(tmp_path, "old")
    assert runs == 2
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.pipeline, record.attempts) == ("done", "new", 1)
    assert handler.ledger.listing() == ({BOX}, set(), set(), set())


def test_a_late_write_of_the_same_chain_changes_nothing(tmp_path: Path) -> None:
    handler, runs = done_beside_a_late_write(tmp_path, "new")
    assert runs == 1
    lose_during_a_write(tmp_path, "new")
    assert handler.ledger.listing() == ({BOX}, set(), set(), set())


def test_a_late_write_to_a_box_that_is_done_is_noted(tmp_path: Path) -> None:
    handler = worker_of(tmp_path, Writes(), "new")
    handler.handle(delivery("new"))
    lose_during_a_write(tmp_path, "old")
    assert handler.ledger.listing() == ({BOX}, set(), set(), {BOX})
    worker_of(tmp_path, Writes(), "new").handle(delivery("newer"))
    assert handler.ledger.listing().late == set(), "the box was done again"


@pytest.mark.parametrize("is_told", [False, True])
def test_a_record_that_arrives_after_the_lease_is_noted(tmp_path: Path, is_told: bool) -> None:
    """is_told: by what follows the record, such as removing that of a failure."""
    lost: list[bool] = []

    class SlowLedger(Ledger):
        def write_unless_late(self, record: Record) -> Record | None:
            late = super().write_unless_late(record)
            lost.append(True)
            if is_told:
                check()
            return late

    def check() -> None:
        if lost:
            raise LeaseLost("lease lost: the process stood still")

    handler = replace(worker_of(tmp_path, Writes(), "old"), ledger=SlowLedger(str(tmp_path)))
    with pytest.raises(LeaseLost) if is_told else nullcontext():
        handler.handle(delivery(), check)
    assert handler.ledger.listing() == ({BOX}, set(), set(), {BOX})


def test_workers_that_never_stop_writing_late_fail_the_task(tmp_path: Path) -> None:
    chain = Writes()
    chain.meanwhile += [lambda: lose_during_a_write(tmp_path, "old")] * 3
    with pytest.raises(RetryableError, match="go on writing"):
        worker_of(tmp_path, chain, "new").handle(delivery("new"))


def test_a_task_that_another_worker_holds_is_not_begun(tmp_path: Path, chain: Chain) -> None:
    ledger = Ledger(str(tmp_path))
    handler = make_handler(tmp_path, chain, holds=Holds(ledger.files, "worker-1"))
    Holds(ledger.files, "worker-2").write(BOX, 60)
    with pytest.raises(TaskHeld):
        handler.handle(delivery(receives=2))
    assert chain.runs == 0
    assert ledger.boxes() == (set(), set()), "that is no failure"
    handler.handle(delivery(receives=1))
    assert chain.runs == 1, "what SQS delivers for the first time is nobody's"


@pytest.fixture
def controlled(handler: Handler) -> Handler:
    """A handler that looks at the state of its job before each task, and pauses it at once."""
    control = Control(handler.ledger.states, 0)
    breaker = Breaker(control, handler.ledger, handler.worker, failures=1)
    return replace(handler, control=control, breaker=breaker)


def test_a_paused_job_is_put_aside_without_an_attempt(
    controlled: Handler, chain: Chain, seen: list[Any]
) -> None:
    controlled.ledger.states.write("job", JobState.now("paused", "me"))
    with pytest.raises(JobPaused) as paused:
        controlled.handle(delivery(pipeline="abc"))
    assert paused.value.seconds == 5
    assert (chain.runs, seen, controlled.ledger.read(BOX)) == (0, [], None)


def test_a_cancelled_job_is_dropped_whatever_its_pipeline(
    controlled: Handler, chain: Chain, seen: list[Any]
) -> None:
    controlled.ledger.states.write("job", JobState.now("cancelled", "me"))
    controlled.handle(delivery(pipeline="abc"))
    assert seen == [TaskDropped("job", BoundingBox.parse(BOX))]
    assert (chain.runs, controlled.ledger.read(BOX)) == (0, None)


@pytest.mark.parametrize("error", [OSError("x"), PermanentError("x")])
def test_failures_of_the_chain_count_for_the_breaker(
    controlled: Handler, chain: Chain, error: Exception
) -> None:
    chain.error = error
    with pytest.raises(type(error)):
        controlled.handle(delivery())
    assert controlled.ledger.states.read("job").state == "paused"


@pytest.mark.parametrize("error", [Preempted("x"), LeaseLost("x"), BoxOutsideJob("x")])
def test_what_says_nothing_of_the_job_does_not_count(
    controlled: Handler, chain: Chain, error: Exception
) -> None:
    chain.error = error
    with pytest.raises(type(error)):
        controlled.handle(delivery())
    assert controlled.ledger.states.read("job").state == "running"
