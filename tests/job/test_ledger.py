from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import RECORD_BYTES, Ledger
from chunkflow_worker.job.record import Record, Written
from chunkflow_worker.storage.files import Files
from tests.support.records import task_record

BOX = "-8-0_0-1_0-1"


def record(state: Literal["done", "skipped", "failed"] = "done", **more: Any) -> Record:
    return Record.model_validate(
        {"bbox": BOX, "job": "j", "task_id": "1", "state": state, "attempts": 1, "worker": "w"}
        | more
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


def test_an_empty_ledger_knows_nothing(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "not there yet"))
    assert ledger.read(BOX) is None
    assert not ledger.is_done(BOX)
    assert ledger.boxes() == (set(), set())
    assert ledger.jobs() == []
    assert list(ledger.records([BOX])) == []


@pytest.mark.parametrize("state", ["done", "skipped"])
def test_a_done_task(ledger: Ledger, state: Literal["done", "skipped"]) -> None:
    written = record(
        state, timer={"load": 1.5}, voxels=8, skipped="empty" if state == "skipped" else ""
    )
    ledger.write(written)
    assert ledger.read(BOX) == ledger.read(BoundingBox.parse(BOX)) == written
    assert list(ledger.records([BOX, "0-1_0-1_0-1"])) == [written]
    assert ledger.boxes() == ({BOX}, set())
    assert ledger.is_done(BOX)
    assert ledger.is_done(BOX, "1")
    assert not ledger.is_done(BOX, "2")


def test_a_failure_gives_way_to_a_success(ledger: Ledger) -> None:
    failed = record("failed", error="no disk", final=True)
    ledger.write(failed)
    assert ledger.read(BOX) == failed
    assert ledger.boxes() == (set(), {BOX})
    assert list(ledger.records([BOX], failed=True)) == [failed]
    assert not ledger.is_done(BOX)
    ledger.write(record(attempts=2))
    assert ledger.boxes() == ({BOX}, set())
    assert list(ledger.records([BOX], failed=True)) == []


def test_a_late_failure_never_hides_a_success(ledger: Ledger) -> None:
    ledger.write(record())
    ledger.write(record("failed", attempts=2, error="late"))
    found = ledger.read(BOX)
    assert found is not None
    assert found.state == "done"
    assert ledger.boxes() == ({BOX}, set())


@pytest.mark.parametrize(
    "foreign", [{"timer": {"load": 1.0}, "compute_device": "cuda"}, [1], "text", 7]
)
def test_logs_of_other_services_are_no_records(ledger: Ledger, foreign: Any) -> None:
    """chunkflow writes its task logs under the same names."""
    Files(ledger.path).put_json(f"{BOX}.json", foreign)
    Files(f"{ledger.path}/jobs").put_json("x.json", foreign)
    assert ledger.read(BOX) is None
    assert list(ledger.records([BOX])) == []
    assert not ledger.is_done(BOX, "1")
    assert ledger.jobs() == []


def test_records_of_newer_versions_are_read(ledger: Ledger) -> None:
    Files(ledger.path).put_json(f"{BOX}.json", record().model_dump() | {"new": 1})
    assert ledger.read(BOX) == record()


def test_jobs_come_oldest_first(ledger: Ledger) -> None:
    for name, time in (("a", "2026-02-01"), ("b", "2026-01-01"), ("c", "2026-03-01")):
        ledger.write_job(
            JobRecord(job=name, queue="q", tasks=1, enqueued=time, grid={"chunk_size": [1, 1, 1]})
        )
    assert [job.job for job in ledger.jobs()] == ["b", "a", "c"]
    ledger.write_job(JobRecord(job="b", queue="q", tasks=2, enqueued="2026-04-01"))
    assert [(job.job, job.tasks) for job in ledger.jobs()] == [("a", 1), ("c", 1), ("b", 2)]
    assert ledger.boxes() == (set(), set())


@pytest.mark.parametrize("change", [{"grid": {"unknown": 1}}, {"bounds": "nonsense"}, {"grid": {}}])
def test_a_job_record_that_cannot_be_read_is_reported(change: dict[str, Any]) -> None:
    job = JobRecord.model_validate({"job": "j", "queue": "q", "tasks": 1} | change)
    with pytest.raises(ConfigError):
        job.boxes()


def test_a_task_done_twice_is_known(ledger: Ledger) -> None:
    ledger.write(record(task_id="1"))
    assert ledger.listing() == ({BOX}, set(), set(), set())
    ledger.write(record(task_id="2", attempts=2))
    assert ledger.listing() == ({BOX}, set(), {BOX}, set())
    assert ledger.boxes() == ({BOX}, set())
    ledger.write(record(task_id="3", job="another"))
    assert ledger.listing() == ({BOX}, set(), set(), set()), "another job does its boxes anew"


def test_what_is_known_of_a_task_can_be_removed(ledger: Ledger) -> None:
    ledger.write(record("failed"))
    ledger.write(record())
    ledger.write(record())
    ledger.remove(BOX)
    ledger.remove(BOX)
    assert ledger.listing() == (set(), set(), set(), set())


def test_a_ledger_to_write_to_is_refused_at_a_web_address() -> None:
    Ledger("https://host/log")
    with pytest.raises(ConfigError, match="https://host/log: is read only"):
        Ledger("https://host/log", to_write=True)


SECOND = "0-1_0-1_0-1"


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": SECOND},
        {"state": "failed"},
        {"seconds": float("nan")},
        {"timer": {"load": float("inf")}},
        {"attempts": "9" * 5000},
        {"error": "x" * RECORD_BYTES},
        {"written": [{"volume": "s3://b/o", "mip": -1, "bbox": BOX}]},
        {"written": [{"volume": "s3://b/o", "mip": 0, "bbox": "everything"}]},
        {"written": [{"volume": "s3://b/o", "mip": 0, "bbox": f"0-1_0-1_0-{'9' * 30}"}]},
        {"written": [{"volume": "s3://b/o", "mip": 0, "bbox": BOX}] * 10_001},
        {"clipped": [{"operator": "quantize", "values": 10**400, "of": 1}]},
    ],
    ids=lambda change: f"{change}"[:40],
)
def test_a_record_that_no_worker_writes_counts_for_none(
    ledger: Ledger, change: dict[str, Any]
) -> None:
    ledger.write(record(task_id="good", bbox=SECOND))
    Files(ledger.path).put_json(f"{BOX}.json", record().model_dump() | change)
    assert ledger.read(BOX) is None
    assert not ledger.is_done(BOX, "1")
    assert [found.task_id for found in ledger.records([BOX, SECOND])] == ["good"]
    ledger.write(record())
    assert ledger.read(BOX) == record()


@pytest.mark.parametrize("time", ["yesterday", "0001-01-01T00:00+14:00", "2026-01-01T00:00"])
def test_a_time_that_is_none_is_unknown(ledger: Ledger, time: str) -> None:
    Files(ledger.path).put_json(f"{BOX}.json", record().model_dump() | {"started": time})
    assert ledger.read(BOX) == record()


@pytest.mark.parametrize(
    "change",
    [
        {"job": "another"},
        {"job": "../x"},
        {"job": "x\x1b[2J"},
        {"queue": "https://sqs.us-east-1.amazonaws.com/123456789012/q"},
        {"tasks": "many"},
    ],
    ids=str,
)
def test_a_job_record_that_no_producer_writes_is_no_job(
    ledger: Ledger, change: dict[str, Any]
) -> None:
    ledger.write_job(JobRecord(job="good", queue="q", tasks=1))
    content = JobRecord(job="x", queue="q", tasks=1).model_dump() | change
    Files(f"{ledger.path}/jobs").put_json("x.json", content)
    assert [job.job for job in ledger.jobs()] == ["good"]
    assert ledger.job("absent") is None
    with pytest.raises(ConfigError, match=r"job x: .*/jobs/x\.json: is not the record of a job"):
        ledger.job("x")


@pytest.mark.parametrize(
    "grid",
    [
        {"bounding_box": "0-1_0-1_0-1", "chunk_size": [1, 1, 1], "grid_size": [1, 1, 10**10]},
        {"chunk_size": [1, 1, 1], "grid_size": [10**30, 1, 1]},
        {"chunk_size": [10**400, 1, 1]},
        {"chunk_size": [1, 1, 1], "task_index_start": -(10**400)},
        {"chunk_size": [1, 1, 1], "grid_size": [1, 1, 2]},
    ],
    ids=lambda grid: f"{grid}"[:40],
)
def test_a_job_of_more_boxes_than_can_be_is_reported(grid: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="job j: "):
        JobRecord(job="j", queue="q", tasks=1, grid=grid).boxes()


def test_what_a_task_left_in_volumes_is_read_as_it_was_written(ledger: Ledger) -> None:
    """Also by another version: what it does not know is left out, what it lacks is empty."""
    times = ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00")
    written = [
        Written("s3://b/v", 1, BOX, blocks="0a 1b", of_bytes=True, stored=times, nan=2),
        Written("s3://b/v", 1, BOX, empty=True),
    ]
    ledger.write(task_record(BOX, written=written, unchecked=["save-h5"]))
    found = ledger.read(BOX)
    assert found is not None
    assert (found.written, found.unchecked) == (written, ["save-h5"])
    content = found.model_dump()
    other = {"volume": "v", "mip": 0, "bbox": BOX, "crc32": "2c", "nan": 0, "of_tomorrow": 1}
    content |= {"written": [other]}
    content.pop("unchecked")
    earlier = Record.model_validate(content)
    assert (earlier.written, earlier.unchecked) == ([Written("v", 0, BOX, crc32="2c")], [])


def test_patches_a_second_are_of_the_time_on_the_device() -> None:
    record = task_record("0-4_0-4_0-4")
    assert record.patches_per_second is None
    assert record.model_copy(update={"patches": 6, "device_seconds": 1.5}).patches_per_second == 4
