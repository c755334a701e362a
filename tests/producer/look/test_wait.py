from __future__ import annotations

from collections.abc import Iterator

import pytest

from chunkflow_worker.job.ledger import JobRecord, Ledger
from producer.look.status import JobStatus
from producer.look.wait import wait_for
from tests.support.records import task_record

BOXES = ["0-2_0-2_0-2", "2-4_0-2_0-2"]


@pytest.fixture
def job(ledger: Ledger) -> Ledger:
    """A ledger with a job of two boxes."""
    grid = {
        "roi_start": [0, 0, 0],
        "roi_stop": [4, 2, 2],
        "chunk_size": [2, 2, 2],
        "task_index_stop": 2,
    }
    ledger.write_job(JobRecord(job="j", queue="q", tasks=2, grid=grid))
    return ledger


def status(done: int = 0, failed: int = 0, **fields: str) -> JobStatus:
    counts = {"done": done, "failed": failed, "total": 2, "missing": 2 - done - failed}
    return JobStatus("q", 1, 0, 0, 0, "j", **counts, **fields)  # type: ignore[arg-type]


def test_a_job_that_is_done_has_ended(job: Ledger) -> None:
    statuses = iter([status(), status(1), status(2), status(2)])
    assert wait_for(statuses, job) == ("done", status(2))
    assert len(list(statuses)) == 1


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_a_job_that_is_stopped_has_ended(job: Ledger, state: str) -> None:
    last = status(1, state=state)
    assert wait_for(iter([status(), last, status(2)]), job) == ("stopped", last)


def test_a_done_job_is_done_whatever_was_decided(job: Ledger) -> None:
    assert wait_for(iter([status(2, state="cancelled")]), job)[0] == "done"


def test_failures_for_good_end_it_though_the_queue_has_messages_of_others(job: Ledger) -> None:
    def statuses() -> Iterator[JobStatus]:
        job.write(task_record(BOXES[0]))
        job.write(task_record(BOXES[1], "failed", error="x"))
        yield status(1, 1)
        job.write(task_record(BOXES[1], "failed", error="x", final=True))
        yield status(1, 1)
        pytest.fail("it goes on")

    assert wait_for(statuses(), job) == ("failed", status(1, 1))


def test_a_queue_that_stays_empty_ends_it(job: Ledger) -> None:
    assert wait_for(iter([status(), status(1)]), job) == ("failed", status(1))


def test_a_timeout_ends_the_waiting(job: Ledger) -> None:
    times = iter([0.0, 1.0, 5.0])
    found = wait_for(iter([status()] * 9), job, 5, lambda: next(times))
    assert found == ("timeout", status())
