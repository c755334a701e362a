from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.storage.files import Files
from producer.look.job import find_job, require_job, some_are_done
from tests.support.records import task_record


def write_job(ledger: Ledger, name: str, enqueued: str) -> JobRecord:
    record = JobRecord(job=name, queue="q", tasks=1, enqueued=enqueued)
    ledger.write_job(record)
    return record


def test_a_job_is_found_by_its_name_and_else_the_latest(ledger: Ledger) -> None:
    later = write_job(ledger, "a", "2026-02-01")
    earlier = write_job(ledger, "b", "2026-01-01")
    for find in (find_job, require_job):
        assert find(ledger, "b") == earlier
        assert find(ledger, None) == later


def test_an_unknown_name_is_refused_with_the_known_names(ledger: Ledger) -> None:
    for find in (find_job, require_job):
        with pytest.raises(ConfigError, match="known: none"):
            find(ledger, "j")
    for name in ("b", "a"):
        write_job(ledger, name, name)
    for find in (find_job, require_job):
        with pytest.raises(ConfigError, match=r"c: is not in the ledger .*\n.*known: a, b"):
            find(ledger, "c")


def test_an_empty_ledger_has_no_job(ledger: Ledger) -> None:
    assert find_job(ledger, None) is None
    with pytest.raises(ConfigError, match=f"{ledger.path}: has no job"):
        require_job(ledger, None)


@pytest.mark.parametrize("sample", [8, 20])
def test_boxes_that_are_done_are_noticed(ledger: Ledger, sample: int) -> None:
    boxes = Grid(chunk_size=(2, 2, 2), roi_size=(4, 4, 4)).boxes()
    assert not some_are_done(ledger, boxes, sample)
    ledger.write(task_record(str(boxes[5]), "failed"))
    assert not some_are_done(ledger, boxes, sample)
    ledger.write(task_record(str(boxes[5])))
    assert some_are_done(ledger, boxes, sample)


def test_only_a_sample_of_the_boxes_is_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Grid(chunk_size=(1, 1, 1), roi_size=(10, 10, 10)).boxes()
    asked: list[str] = []

    def records(names: Iterable[str]) -> Iterator[Record]:
        asked.extend(names)
        return iter(())

    monkeypatch.setattr(ledger, "records", records)
    assert not some_are_done(ledger, boxes)
    assert asked == [str(boxes[i]) for i in range(0, 1000, 50)]


def test_a_stranger_s_record_of_another_job_does_not_matter_for_a_named_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = write_job(ledger, "j", "2026-01-01")
    jobs = Files(f"{ledger.path}/jobs")
    for name, content in (("zz", b"[" * 100_000), ("\x1b[2J", b"{}"), ("a", b'{"job": "j"}')):
        jobs.put(f"{name}.json", content, "application/json")
    assert find_job(ledger, None) == mine
    monkeypatch.setattr(ledger, "jobs", lambda: pytest.fail("one record is enough"))
    assert find_job(ledger, "j") == mine
