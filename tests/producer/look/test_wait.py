from __future__ import annotations

from collections.abc import Iterator

import pytest

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from producer.look.status import JobStatus, StatusPoll
from producer.look.wait import wait_for
from tests.support.records import task_record

BOXES = ["0-2_0-2_0-2", "2-4_0-2_0-2"]


@pytest.fixture
def asked(ledger: Ledger) -> StatusPoll:
    """Of a job of two boxes without a queue."""
    grid = {
        "roi_start": [0, 0, 0],
        "roi_stop": [4, 2, 2],
        "chunk_size": [2, 2, 2],
        "task_index_stop": 2,
    }
    ledger.write_job(JobRecord(job="j", queue="q", tasks=2, grid=grid))
    return StatusPoll(None, None, ledger, "j")


def unasked() -> bool:
    raise AssertionError("boxes are missing, or all are done")


def status(done: int = 0, failed: int = 0, **fields: str) -> JobStatus:
    counts = {"done": done, "failed": failed, "total": 2, "missing": 2 - done - failed}
    return JobStatus("q", 1, 0, 0, 0, "j", **counts, **fields)  # type: ignore[arg-type]


def test_a_job_that_is_done_has_ended() -> None:
    statuses = iter([status(), status(1), status(2), status(2)])
    assert wait_for(statuses, unasked) == ("done", status(2))
    assert len(list(statuses)) == 1


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_a_job_that_is_stopped_has_ended(state: str) -> None:
    last = status(1, state=state)
    assert wait_for(iter([status(), last, status(2)]), unasked) == ("stopped", last)


def test_a_done_job_is_done_whatever_was_decided() -> None:
    assert wait_for(iter([status(2, state="cancelled")]), unasked)[0] == "done"


def test_failures_for_good_end_it_though_the_queue_has_messages_of_others(
    asked: StatusPoll, ledger: Ledger
) -> None:
    def statuses() -> Iterator[JobStatus]:
        ledger.write(task_record(BOXES[0]))
        ledger.write(task_record(BOXES[1], "failed", error="x"))
        yield asked.ask(0)
        ledger.write(task_record(BOXES[1], "failed", error="x", final=True))
        yield asked.ask(0)
        pytest.fail("it goes on")

    outcome, last = wait_for(statuses(), asked.all_are_final)
    assert (outcome, last.done, last.failed) == ("failed", 1, 1)
    assert asked.all_are_final()
    ledger.remove(BOXES[1])
    assert not asked.all_are_final(), "it is about to be done again"


def test_a_queue_that_stays_empty_ends_it() -> None:
    assert wait_for(iter([status(), status(1)]), unasked) == ("failed", status(1))


def test_a_timeout_ends_the_waiting() -> None:
    times = iter([0.0, 1.0, 5.0])
    found = wait_for(iter([status()] * 9), unasked, 5, lambda: next(times))
    assert found == ("timeout", status())
