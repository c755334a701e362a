from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from producer.look.sample import sample_of
from tests.support.records import task_record


def job(name: str = "j") -> JobRecord:
    grid = {"chunk_size": [1, 1, 1], "grid_size": [1, 4, 10], "roi_start": [0, 0, 0]}
    return JobRecord(job=name, queue="q", tasks=40, grid=grid)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """All boxes but the last four are done; one of them failed, and others are of another job."""
    found = Ledger(str(tmp_path / "ledger"))
    boxes = list(map(str, job().boxes()))
    for box in [*boxes[:36], "7-8_7-8_7-8"]:
        found.write(task_record(box))
    found.write(task_record(boxes[36], "failed"))
    return found


def test_a_repeat_chooses_the_same_boxes_and_another_job_others(ledger: Ledger) -> None:
    chosen, done = sample_of(ledger, job(), 10)
    assert sample_of(ledger, job(), 10) == (chosen, done)
    assert sample_of(ledger, job("another"), 10)[0] != chosen
    assert done == 36
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 10


def test_only_boxes_of_the_job_that_are_done_are_chosen(ledger: Ledger) -> None:
    boxes = list(job().boxes())
    assert sample_of(ledger, job(), 99) == (boxes[:36], 36)
    for box in boxes[:36]:
        ledger.remove(box)
    assert sample_of(ledger, job(), 3) == ([], 0)


def test_each_box_may_be_chosen(ledger: Ledger) -> None:
    chosen: set[BoundingBox] = set()
    for n in range(99):
        chosen |= {*sample_of(ledger, job(str(n)), 5)[0]}
    assert len(chosen) == 36
