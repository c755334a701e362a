from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile
from producer.plan.record import record_job


def planned(**options: Any) -> JobRecord:
    grid = {"chunk_size": (2, 2, 2), "roi_size": (4, 4, 4)} | options
    return make_plan("q", "j", Grid(**grid)).record


def test_a_job_is_recorded(ledger: Ledger) -> None:
    record = planned()
    assert record_job(ledger, record) is True
    assert ledger.jobs() == [record]
    assert ledger.jobs()[0].boxes() == record.boxes()


def test_the_same_job_may_be_sent_again(ledger: Ledger) -> None:
    record_job(ledger, planned())
    assert record_job(ledger, planned()) is False
    assert [job.tasks for job in ledger.jobs()] == [8]


@pytest.mark.parametrize(
    "parts",
    [[(0, 3), (3, 8)], [(3, 8), (0, 3)], [(0, 8), (5, 8)], [(2, 4), (3, 6), (0, 3), (6, 8)]],
)
def test_parts_of_a_job_are_one_job(ledger: Ledger, parts: list[tuple[int, int]]) -> None:
    for start, stop in parts:
        record_job(ledger, planned(task_index_start=start, task_index_stop=stop))
    (job,) = ledger.jobs()
    assert job.tasks == 8
    assert list(job.boxes()) == list(planned().boxes())


def test_a_job_began_with_its_first_part(ledger: Ledger) -> None:
    first = planned(task_index_stop=3).model_copy(update={"began": "2026-01-01T00:00:00.000"})
    record_job(ledger, first)
    second = planned(task_index_start=3)
    record_job(ledger, second)
    (job,) = ledger.jobs()
    assert (job.began, job.enqueued) == (first.began, second.enqueued)


@pytest.mark.parametrize(
    "options",
    [{"chunk_size": (2, 2, 4)}, {"roi_start": (2, 2, 2)}, {"task_index_start": 4}],
)
def test_another_job_of_the_same_name_is_refused(ledger: Ledger, options: dict[str, Any]) -> None:
    record_job(ledger, planned(task_index_stop=3))
    with pytest.raises(ConfigError, match="choose another --job"):
        record_job(ledger, planned(**options))
    assert [job.tasks for job in ledger.jobs()] == [3]


def test_the_same_job_with_another_pipeline_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    record_job(ledger, planned())
    path = tmp_path / "p.yaml"
    path.write_text("operators: [{op: create-chunk}]")
    grid = Grid(chunk_size=(2, 2, 2), roi_size=(4, 4, 4))
    other = make_plan("q", "j", grid, PipelineFile.load(path)).record
    with pytest.raises(ConfigError, match="another grid or pipeline"):
        record_job(ledger, other)
