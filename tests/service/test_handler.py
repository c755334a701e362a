from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import (
    MessageMalformed,
    PermanentError,
    PipelineMismatch,
    Preempted,
    RetryableError,
    StorageFull,
    StorageOutage,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import TaskFailed, TaskFinished, TaskStarted
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.patience import Patience

MESSAGE = {"v": 1, "job": "job", "bbox": "0-4_0-4_0-8"}


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


@pytest.fixture
def handler(tmp_path: Path, chain: Chain, seen: list[Any]) -> Handler:
    return Handler(chain, "d1", Ledger(str(tmp_path)), "worker-1", 3, (seen.append,))  # type: ignore[arg-type]


def test_done_task_is_recorded_and_told(handler: Handler, seen: list[Any]) -> None:
    handler.handle(MESSAGE, "id-1", 1)
    record = handler.ledger.read(MESSAGE["bbox"])
    assert record is not None
    assert (record.state, record.job, record.task_id, record.attempts) == ("done", "job", "id-1", 1)
    assert (record.worker, record.compute_device, record.voxels) == ("worker-1", "test device", 128)
    assert record.pipeline == "d1"
    assert record.versions["chunkflow-worker"]
    started, finished = seen
    assert started == TaskStarted("job", BoundingBox.parse(MESSAGE["bbox"]), 1)
    assert isinstance(finished, TaskFinished)
    assert finished.operators == record.timer
    assert finished.seconds == record.seconds


def test_skipped_task_is_done_with_its_reason(
    handler: Handler, chain: Chain, seen: list[Any]
) -> None:
    chain.error = SkipTask("all black")
    handler.handle(MESSAGE, "id-1", 1)
    record = handler.ledger.read(MESSAGE["bbox"])
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
        handler.handle(MESSAGE, "id-1", receives)
    record = handler.ledger.read(MESSAGE["bbox"])
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
        handler.handle(MESSAGE, "id-1", 1)
    record = handler.ledger.read(MESSAGE["bbox"])
    assert record is not None
    assert record.log[0].endswith("WARNING net: loss is high, aws_secret_access_key=***")
    assert record.log[-1] == "KeyError: 'absent'"
    monkeypatch.setattr(chain, "run", lambda *_: None)
    handler.handle(MESSAGE, "id-1", 2)
    record = handler.ledger.read(MESSAGE["bbox"])
    assert record is not None
    assert (record.state, record.log) == ("done", [])


def test_success_takes_the_failure_away(handler: Handler, chain: Chain) -> None:
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(MESSAGE, "id-1", 1)
    chain.error = None
    handler.handle(MESSAGE, "id-1", 2)
    assert handler.ledger.boxes() == ({MESSAGE["bbox"]}, set())


def test_late_failure_does_not_overwrite_a_success(handler: Handler, chain: Chain) -> None:
    handler.handle(MESSAGE, "id-1", 1)
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(MESSAGE, "id-2", 2)
    assert handler.ledger.boxes() == ({MESSAGE["bbox"]}, set())


def test_redelivered_message_of_a_done_task_runs_nothing(
    handler: Handler, chain: Chain, seen: list[Any]
) -> None:
    handler.handle(MESSAGE, "id-1", 1)
    handler.handle(MESSAGE, "id-1", 2)
    assert chain.runs == 1
    assert len(seen) == 2
    handler.handle(MESSAGE, "id-2", 2)
    assert chain.runs == 2, "another message for the same box, as after a second enqueue, does run"


def test_attempts_of_earlier_copies_count(handler: Handler, chain: Chain) -> None:
    chain.error = RetryableError("away")
    with pytest.raises(RetryableError):
        handler.handle(MESSAGE | {"attempts": 2}, "id-1", 1)
    record = handler.ledger.read(MESSAGE["bbox"])
    assert record is not None
    assert (record.attempts, record.final) == (3, True)


def test_preemption_is_no_failure(handler: Handler, seen: list[Any]) -> None:
    def check() -> None:
        raise Preempted("stop")

    with pytest.raises(Preempted):
        handler.handle(MESSAGE, "id-1", 1, check)
    assert handler.ledger.boxes() == (set(), set())
    assert [type(e) for e in seen] == [TaskStarted]


def test_an_outage_that_goes_on_is_no_failure(
    handler: Handler, chain: Chain, seen: list[Any], tmp_path: Path
) -> None:
    chain.error = StorageFull("out: no space left")
    with pytest.raises(StorageOutage, match="no space left"):
        replace(handler, patience=Patience(str(tmp_path), [], hold_seconds=0)).handle(
            MESSAGE, "id-1", 1
        )
    assert handler.ledger.boxes() == (set(), set())
    assert [type(e) for e in seen] == [TaskStarted]


def test_message_for_another_pipeline_is_left_alone(handler: Handler, chain: Chain) -> None:
    with pytest.raises(PipelineMismatch, match="is for pipeline d2"):
        handler.handle(MESSAGE | {"pipeline": "d2"}, "id-1", 1)
    assert chain.runs == 0
    assert handler.ledger.boxes() == (set(), set())


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": "0-4"},
        {"v": 2},
        {"job": "../x"},
        {"plugin": "os"},
        {"attempts": -1},
        {"bbox": 3},
        {"job": None},
    ],
)
def test_malformed_message_runs_nothing(
    handler: Handler, chain: Chain, change: dict[str, Any]
) -> None:
    with pytest.raises(MessageMalformed):
        handler.handle(MESSAGE | change, "id-1", 1)
    assert chain.runs == 0
