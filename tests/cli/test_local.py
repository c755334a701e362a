"""Tasks of a local run overlap, stay in order, and end together when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.cli import local
from chunkflow_worker.cli.local import LocalOptions, run_here
from chunkflow_worker.cli.summary import show_summary
from chunkflow_worker.errors import (
    BoxOutsideJob,
    LeaseLost,
    PermanentError,
    PipelineMismatch,
    Preempted,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report import cloudwatch
from chunkflow_worker.report.events import Event, TaskFinished
from chunkflow_worker.storage.local_file import atomic_file

Check = Callable[[], None]
Work = Callable[[Task, Check], None]


def tasks(count: int) -> list[Task]:
    return [Task(bbox=BoundingBox.sized((i, 0, 0), (1, 100, 100))) for i in range(count)]


@dataclass
class Source:
    """Stands for an operator that makes tasks."""

    made: list[Task]
    label: str = "source"
    op: str = "source"
    consumes: bool = False

    @contextmanager
    def open(self, run: Any) -> Iterator[None]:
        yield

    def tasks(self) -> Iterator[Task]:
        return iter(self.made)

    tasks_to_the_end = tasks

    def job_boxes(self) -> list[BoundingBox] | None:
        boxes = [task.bbox for task in self.made if task.bbox and not task.delivery]
        return boxes or None


@dataclass
class Chain:
    """Stands for a pipeline, closed and open."""

    run: Work
    tasks: Source
    digest: str = "d1"
    operators: tuple[Any, ...] = ()
    subscribers: tuple[Any, ...] = ()

    @contextmanager
    def open(self, subscribers: Any, **options: Any) -> Iterator[Chain]:
        self.subscribers = subscribers
        yield self


def run_chain(work: Work, made: list[Task], **options: Any) -> None:
    run_here(Chain(work, Source(made)), None, LocalOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_as_many_tasks_run_at_the_same_time_as_allowed(in_flight: int) -> None:
    """Named defect of the peer: load, compute and save were strictly in turn."""
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(in_flight)

    def work(task: Task, check: Check) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(30)  # only passed when so many run at the same time
        with lock:
            now -= 1

    run_chain(work, tasks(6), in_flight=in_flight)
    assert most == in_flight


def test_a_failure_is_raised_and_ends_the_tasks_beside_it() -> None:
    ended: list[str] = []
    begun = threading.Event()

    def work(task: Task, check: Check) -> None:
        assert task.bbox is not None
        if task.bbox.start.z == 0:
            begun.wait(30)
            raise PermanentError("broken")
        begun.set()
        try:
            while True:
                check()
                time.sleep(0.001)
        except Preempted:
            ended.append(str(task.bbox))
            raise

    with pytest.raises(PermanentError, match="broken"):
        run_chain(work, tasks(5), in_flight=2)
    assert ended == ["1-2_0-100_0-100"], "the third was never begun"


def test_tasks_are_recorded_as_a_worker_records_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(task: Task, check: Check) -> None:
        assert task.bbox is not None
        with task.timed("step"):
            pass
        if task.bbox.start.z == 1:
            raise SkipTask("black")
        if task.bbox.start.z == 2:
            raise PermanentError("broken")

    with pytest.raises(PermanentError, match="broken"):
        run_chain(work, tasks(3), in_flight=1, ledger=str(tmp_path))
    ledger = Ledger(str(tmp_path))
    done, skipped, failed = (ledger.read(str(task.bbox)) for task in tasks(3))
    assert done is not None
    assert (done.state, done.job, done.attempts, done.pipeline) == ("done", "local", 1, "d1")
    assert list(done.timer) == ["step"]
    assert done.worker.startswith("local-")
    assert skipped is not None
    assert (skipped.state, skipped.skipped) == ("skipped", "black")
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "broken")
    assert "skipped 1-2_0-100_0-100: black" in capsys.readouterr().err


def test_a_ledger_that_is_away_does_not_hide_the_error_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StorageUnavailable("away")

    def work(task: Task, check: Check) -> None:
        raise PermanentError("broken")

    monkeypatch.setattr(Ledger, "write", away)
    with pytest.raises(PermanentError, match="broken"):
        run_chain(work, tasks(1), ledger=str(tmp_path))


def test_subscribers_learn_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []

    @contextmanager
    def subscribers(metrics: str | None) -> Iterator[tuple[Any, ...]]:
        yield (events.append,)

    monkeypatch.setattr(local, "_subscribers", subscribers)
    run_chain(lambda task, check: None, tasks(2))
    found = [(type(e), str(e.bbox), e.job) for e in events]  # type: ignore[union-attr]
    # Two tasks run at the same time, and either may end first.
    assert sorted(found, key=lambda each: each[1]) == [
        (TaskFinished, str(task.bbox), "local") for task in tasks(2)
    ]


def test_metrics_of_a_run_name_its_job_unless_the_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[dict[str, Any]] = []

    class Client:
        def put_metric_data(self, **request: Any) -> None:
            sent.extend(request["MetricData"])

    monkeypatch.setattr(cloudwatch, "make_client", lambda region: Client())
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for by_job, job in (("true", "cells"), ("false", "all")):
        sent.clear()
        monkeypatch.setenv("CHUNKFLOW_METRICS_BY_JOB", by_job)
        run_chain(lambda task, check: None, tasks(1), metrics="cloudwatch", job="cells")
        dimensions = [pair for value in sent for pair in value["Dimensions"]]
        assert {pair["Value"] for pair in dimensions if pair["Name"] == "job"} == {job}


def test_a_task_without_a_box_has_no_record(tmp_path: Path) -> None:
    run_chain(lambda task, check: None, [Task()], ledger=str(tmp_path))
    assert Ledger(str(tmp_path)).boxes() == (set(), set())


def delivered(**fields: Any) -> Task:
    """A task that came with a message."""
    message = TaskMessage(job="job", bbox="0-1_0-1_0-1", **fields)
    return Task(bbox=message.box, delivery=Delivery(message, "id"))


def test_a_task_that_an_earlier_delivery_did_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[Task] = []
    for attempts in (0, 1):
        task = delivered(attempts=attempts)
        run_chain(lambda task, check: runs.append(task), [task], ledger=str(tmp_path))
    assert len(runs) == 1
    assert "0-1_0-1_0-1 was done by an earlier delivery" in capsys.readouterr().err
    record = Ledger(str(tmp_path)).read("0-1_0-1_0-1")
    assert record is not None
    assert (record.job, record.task_id, record.attempts) == ("job", "id", 1)


def test_a_task_for_another_pipeline_is_refused() -> None:
    with pytest.raises(PipelineMismatch, match="is for pipeline d2, and this chain is d1"):
        run_chain(lambda task, check: None, [delivered(pipeline="d2")])


def test_summary_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    done = tasks(3)
    for task, seconds in zip(done, (1.0, 2.0, 6.0), strict=True):
        task.seconds = {"load": seconds, "save": 1.0}
    show_summary(done, 2.0)
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines[1] == ["load", "3", "9.00", "3.00", "2.00", "75%", f"{0.03 / 9:.3g}"]
    assert lines[2] == ["save", "3", "3.00", "1.00", "1.00", "25%", "0.01"]
    assert lines[3] == ["whole", "task", "3", "12.00", "4.00", "3.00", "100%", "0.0025"]
    assert " ".join(lines[4]) == "3 tasks in 2 s, 0.0 Mvoxel, 0.01 Mvoxel/s"


def test_a_message_of_a_job_that_the_ledger_lacks_is_refused(tmp_path: Path) -> None:
    ledger, runs = str(tmp_path), list[Task]()

    def work(task: Task, check: Check) -> None:
        runs.append(task)

    run_chain(work, [delivered()], ledger=ledger)
    grid = {"bounding_box": "0-1_0-1_0-1"}
    Ledger(ledger).write_job(JobRecord(job="other", queue="q", tasks=1, grid=grid))
    with pytest.raises(BoxOutsideJob, match="has no job job, but others"):
        run_chain(work, [delivered()], ledger=ledger)
    plain = Task(bbox=BoundingBox.parse("0-1_0-1_0-1"))
    plain.delivery = replace(delivered().delivery, plain_body="0-1_0-1_0-1")
    run_chain(work, [plain], ledger=ledger)
    Ledger(ledger).write_job(JobRecord(job="job", queue="q", tasks=1, grid=grid))
    run_chain(work, [delivered()], ledger=ledger)
    assert len(runs) == 3


def test_a_frozen_chain_keeps_a_secret_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "https://user:hunter2hunter2@host/em"
    chain = Pipeline.parse({"operators": [{"op": "load-precomputed", "volume_path": path}]}, "p")
    local.freeze(chain, tmp_path / "p.yaml")
    assert path in (tmp_path / "p.yaml").read_text()
    assert (tmp_path / "p.yaml").stat().st_mode & 0o777 == 0o600
    printed = capsys.readouterr()
    assert "holds a password, key or token: write ${env:NAME} for it" in printed.err
    assert "hunter2" not in printed.out + printed.err


def test_nothing_is_written_for_a_message_that_another_may_have(tmp_path: Path) -> None:
    """Also not within one operator, which knows nothing of leases."""
    lost: list[bool] = []

    def check_hold() -> None:
        if lost:
            raise LeaseLost("the lease has ended")

    def work(task: Task, check: Check) -> None:
        check()
        lost.append(True)
        with atomic_file(tmp_path / "result") as part:
            part.write_bytes(b"1")

    task = delivered()
    task.hold = lambda: nullcontext(check_hold)
    with pytest.raises(LeaseLost):
        run_chain(work, [task])
    assert list(tmp_path.iterdir()) == []
