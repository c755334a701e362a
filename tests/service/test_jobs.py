from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.errors import BoxOutsideJob, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.ledger import JobRecord, Ledger
from chunkflow_worker.service.jobs import Jobs

INSIDE, LATER = BoundingBox.parse("0-4_0-4_4-8"), BoundingBox.parse("0-4_0-4_8-12")


def write(ledger: Ledger, stop: int) -> None:
    grid = {
        "roi_start": [0, 0, 0],
        "roi_stop": [4, 4, 16],
        "chunk_size": [4, 4, 4],
        "task_index_stop": stop,
    }
    ledger.write_job(JobRecord(job="j", queue="q", tasks=stop, grid=grid))


def test_only_boxes_of_the_job_pass_and_parts_sent_later_count(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    write(ledger, 2)
    jobs = Jobs(ledger)
    jobs.check("j", INSIDE)
    for box in ("0-4_0-4_5-9", "0-4_0-4_0-8", "-4-0_0-4_0-4", "0-4_0-4_8-12", "0-4_4-8_0-4"):
        with pytest.raises(BoxOutsideJob, match="is not a box of job j"):
            jobs.check("j", BoundingBox.parse(box))
    write(ledger, 4)
    jobs.check("j", LATER)


@pytest.mark.parametrize("grid", [{}, {"unknown": 1}, {"chunk_size": [0, 1, 1]}])
def test_a_job_without_a_readable_record_may_have_any_box(
    tmp_path: Path, grid: dict[str, object]
) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.write_job(JobRecord(job="j", queue="q", tasks=1, grid=grid))
    Jobs(ledger).check("j", INSIDE)
    Jobs(ledger).check("other", INSIDE)


def test_a_job_is_read_once_and_storage_trouble_is_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(str(tmp_path))
    write(ledger, 2)

    def away() -> list[JobRecord]:
        raise StorageUnavailable("away")

    jobs = Jobs(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "jobs", away)
        with pytest.raises(StorageUnavailable):
            jobs.check("j", INSIDE)
    jobs.check("j", INSIDE)
    monkeypatch.setattr(ledger, "jobs", away)
    jobs.check("j", INSIDE)


def test_a_job_that_the_ledger_does_not_know_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(str(tmp_path / "elsewhere"))
    write(Ledger(str(tmp_path / "here")), 2)
    jobs = Jobs(ledger)
    for box in (INSIDE, LATER, INSIDE):
        jobs.check("j", box)
    (warning,) = caplog.messages
    assert warning.startswith(f"{ledger.path} has no record of job j; ")
    assert "compare CHUNKFLOW_LEDGER" in warning


@pytest.mark.parametrize("grid", [{}, {"unknown": 1}, {"chunk_size": [0, 1, 1]}])
def test_a_job_that_it_knows_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, grid: dict[str, object]
) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.write_job(JobRecord(job="known", queue="q", tasks=1, grid=grid))
    Jobs(ledger).check("known", INSIDE)
    assert not caplog.messages
