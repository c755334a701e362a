from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.job.failing import FailingBoxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import JobState
from chunkflow_worker.report.events import JobPausedByBreaker
from chunkflow_worker.service.breaker import Breaker
from chunkflow_worker.service.control import Control
from tests.support.records import task_record

LIMIT = 8


def box(number: int) -> str:
    return f"{number}-{number + 1}_0-2_0-2"


def error(number: int) -> str:
    return f"load on {box(number)}: {number} blocks are missing"


class Fleet:
    """Workers of one ledger, each of which reads the state of the job before each task.

    told: the events of all.
    """

    def __init__(self, folder: Path, workers: int, failures: int = LIMIT, share: float = 0.5):
        self.ledger, self.told = Ledger(str(folder)), list[Any]()
        self.breakers = [
            Breaker(
                Control(self.ledger.states, 0),
                self.ledger,
                f"w{i}",
                failures,
                share,
                (self.told.append,),
            )
            for i in range(workers)
        ]

    @property
    def state(self) -> JobState:
        return self.ledger.states.read("j")

    def fail(self, numbers: range) -> int:
        """Fail these boxes by turns of the workers until the job is paused; returns how many."""
        for count, number in enumerate(numbers):
            if self.state.state != "running":
                return count
            self.breakers[number % len(self.breakers)].failed("j", box(number), error(number))
        return len(numbers)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_job_that_always_fails_is_paused_at_the_limit_of_all_workers(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(tmp_path, workers)
    assert fleet.fail(range(100)) == LIMIT
    why = fleet.state.why
    assert f"{LIMIT} boxes failed for one cause" in why
    assert "load on <box>: # blocks are missing" in why
    assert fleet.told == [JobPausedByBreaker("j", "load on <box>: # blocks are missing", LIMIT)]
    (line,) = [text for text in caplog.messages if "then run" in text]
    assert line.endswith("mend it, then run: chunkflow-producer resume --job j")
    for breaker in fleet.breakers:  # tasks that were in progress
        breaker.failed("j", box(200), error(200))
    assert len(fleet.told) == 1, "it is said once"


def test_after_a_resume_failures_count_anew(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 2)
    fleet.fail(range(100))
    fleet.ledger.states.write("j", JobState.now("running", "me"))
    assert fleet.fail(range(100, 100 + LIMIT - 1)) == LIMIT - 1
    assert fleet.state.state == "running"
    fleet.fail(range(200, 201))
    assert fleet.state.state == "paused"


@pytest.mark.parametrize("good", [2, 10])
def test_boxes_that_fail_among_many_that_succeed_pause_nothing(tmp_path: Path, good: int) -> None:
    fleet = Fleet(tmp_path, 1)
    for number in range(200):
        for _ in range(good):
            fleet.breakers[0].done("j")
        fleet.breakers[0].failed("j", box(number), error(number))
    assert fleet.state.state == "running"
    assert len(FailingBoxes(fleet.ledger.path).boxes("j", fleet.state, error(0))) <= 1


def test_one_box_that_fails_again_and_again_pauses_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    for _ in range(10 * LIMIT):
        fleet.breakers[0].failed("j", box(1), error(1))
    assert fleet.state.state == "running"


def test_failures_of_many_causes_pause_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    for number in range(10 * LIMIT):
        fleet.breakers[0].failed("j", box(number), "abcdefghijklmnopqrstuvwxyz"[number % 26])
    assert fleet.state.state == "running"


def test_a_worker_that_is_ill_does_not_pause_what_others_can_do(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    for number in range(10 * LIMIT):
        fleet.breakers[0].failed("j", box(number), "CUDA error")
        fleet.ledger.write(task_record(box(number)))  # another worker did it
    assert fleet.state.state == "running"


def test_jobs_count_apart(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    for number in range(100):
        fleet.breakers[0].done("good")
        if fleet.state.state == "running":
            fleet.breakers[0].failed("j", box(number), error(number))
    assert fleet.state.state == "paused"
    assert fleet.ledger.states.read("good").state == "running"


def test_a_cancelled_job_stays_cancelled(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1)
    fleet.ledger.states.write("j", JobState.now("cancelled", "me"))
    for number in range(100):
        fleet.breakers[0].failed("j", box(number), error(number))
    assert fleet.state.state == "cancelled"


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    assert Fleet(tmp_path, 1, failures=0).fail(range(100)) == 100
    assert not (tmp_path / "states").exists()


def test_storage_that_is_away_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(FailingBoxes, "note", away)
    assert Fleet(tmp_path, 1).fail(range(3)) == 3
    assert "whether job j is to be paused is not known: away" in caplog.text
