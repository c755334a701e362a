from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import JobState
from producer.look.jobs import JobRow, job_rows
from tests.support.records import task_record


def write_job(ledger: Ledger, job: str, start: int, time: str) -> list[str]:
    """A job of two boxes from z = `start` on."""
    grid = {
        "roi_start": [start, 0, 0],
        "roi_stop": [start + 4, 2, 2],
        "chunk_size": [2, 2, 2],
        "task_index_stop": 2,
    }
    record = JobRecord(job=job, queue="q", tasks=2, grid=grid, enqueued=time)
    ledger.write_job(record)
    return [str(box) for box in record.boxes()]


def test_each_job_has_its_boxes_and_its_state(ledger: Ledger) -> None:
    early, late = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    second = write_job(ledger, "second", 4, late)
    first = write_job(ledger, "first", 0, early)
    ledger.write_job(JobRecord(job="odd", queue="q", tasks=7, enqueued=late + "x"))
    for box in first:
        ledger.write(task_record(box))
    ledger.write(task_record(second[0], "failed", error="x"))
    ledger.states.write("second", JobState.now("paused", "me", "a look"))
    assert job_rows(ledger) == [
        JobRow("first", "done", 2, 2, 0, "q", early),
        JobRow("second", "paused", 0, 2, 1, "q", late, "a look"),
        JobRow("odd", "running", None, 7, None, "q", late + "x"),
    ]


def test_a_ledger_without_jobs_has_no_rows(ledger: Ledger) -> None:
    assert job_rows(ledger) == []


def test_the_ledger_is_listed_once_for_all_jobs(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        write_job(ledger, f"j{number}", number // 2 * 4, f"2026-01-0{number + 1}T00:00:00+00:00")
    for box in ("0-2_0-2_0-2", "4-6_0-2_0-2", "6-8_0-2_0-2", "90-92_0-2_0-2", "no_box_here"):
        ledger.files.put_json(f"{box}.json", {})
    listed, names = list[str](), ledger.records_named

    def listing(prefix: str = "") -> Any:
        listed.append(prefix)
        return names(prefix)

    monkeypatch.setattr(ledger, "records_named", listing)
    assert [row.done for row in job_rows(ledger)] == [1, 1, 2, 2, 0, 0]
    assert listed == [""]
