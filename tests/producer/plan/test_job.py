from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.ledger import JobRecord, Ledger
from chunkflow_worker.job.message import JOB_NAME, pipeline_digest
from producer.plan.job import make_plan, record_job, some_are_done
from producer.plan.pipeline_file import PipelineFile

CHAIN = """
tasks:
  op: generate-tasks
  chunk_size: [2, 2, 2]
  roi_start: [0, 0, 0]
  roi_size: [4, 4, 4]
operators:
  - op: create-chunk
    size: [2, 2, 2]
  - op: save-precomputed
    volume_path: /data/out
"""
GRID: dict[str, Any] = {"chunk_size": (2, 2, 2), "roi_size": (4, 4, 4)}


@pytest.fixture
def pipeline(tmp_path: Path) -> PipelineFile:
    path = tmp_path / "segment it.v2.yaml"
    path.write_text(CHAIN)
    return PipelineFile.load(path)


def test_a_pipeline_file_gives_region_digest_and_ledger(pipeline: PipelineFile) -> None:
    plan = make_plan("q", "j", {}, pipeline)
    assert [str(box) for box in plan.boxes][:2] == ["0-2_0-2_0-2", "0-2_0-2_2-4"]
    assert (plan.record.job, plan.record.queue, plan.record.tasks, plan.record.bounds) == (
        "j",
        "q",
        8,
        None,
    )
    operators = [
        {"op": "create-chunk", "size": [2, 2, 2]},
        {"op": "save-precomputed", "volume_path": "/data/out"},
    ]
    assert plan.record.pipeline == pipeline.digest == pipeline_digest(operators)
    assert pipeline.ledger_path == "/data/out/log"


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"chunk_size": (4, 4, 4)}, "0-4_0-4_0-4"),
        ({"roi_start": (-2, 0, 0)}, "0-2_2-4_2-4"),
        ({"roi_stop": (2, 2, 6)}, "0-2_0-2_4-6"),
        ({"grid_size": (1, 1, 5)}, "0-2_0-2_8-10"),
        ({"bounding_box": "10-14_0-2_0-2"}, "12-14_0-2_0-2"),
        ({"task_index_stop": 2}, "0-2_0-2_2-4"),
    ],
)
def test_options_take_the_place_of_the_file_s(
    pipeline: PipelineFile, options: dict[str, Any], last: str
) -> None:
    assert str(make_plan("q", "j", options, pipeline).boxes[-1]) == last


def test_the_volume_s_bounds_are_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def bounds(path: str, mip: int) -> BoundingBox:
        asked.append((path, mip))
        return BoundingBox.parse("10-14_0-4_0-4")

    monkeypatch.setattr("chunkflow_worker.storage.precomputed_info.volume_bounds", bounds)
    plan = make_plan("q", "j", {"volume_path": "s3://b/v", "mip": 2, "chunk_size": (2, 4, 4)})
    assert asked == [("s3://b/v", 2)]
    assert [str(box) for box in plan.boxes] == ["10-12_0-4_0-4", "12-14_0-4_0-4"]
    assert plan.record.bounds == "10-14_0-4_0-4"
    assert plan.record.boxes() == plan.boxes


def test_a_job_s_name_is_made_from_the_file_s_and_the_time(pipeline: PipelineFile) -> None:
    name = make_plan("q", None, {}, pipeline).record.job
    assert re.fullmatch(r"segment-it\.v2-\d{8}T\d{6}Z", name)
    assert re.fullmatch(JOB_NAME, name)
    assert make_plan("q", None, GRID).record.job.startswith("job-")


@pytest.mark.parametrize("name", ["a b", "../x", "-x", "x" * 81, "x\n"])
def test_names_that_are_no_job_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no job name"):
        make_plan("q", name, GRID)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "write `operators:`"),
        ("[1, 2]", "write `operators:`"),
        ("operators: []", "write `operators:`"),
        ("operators: [text]", "write `operators:`"),
        ("operators: [{op: a}]\ntasks: {op: other}", "op: generate-tasks"),
        ("operators: [{op: a}]\ntasks: [1]", "op: generate-tasks"),
        ("operators: [", "is not YAML"),
    ],
)
def test_files_that_are_no_pipelines_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(fault)) as caught:
        PipelineFile.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml.*No such file"):
        PipelineFile.load(tmp_path / "absent.yaml")


def test_all_faults_of_the_options_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "operators: [{op: a}]\ntasks: {op: generate-tasks, chunksize: [1, 1, 1], roi_size: 5}"
    )
    with pytest.raises(ConfigError) as caught:
        make_plan("q", "j", {}, PipelineFile.load(path))
    assert [fault.place for fault in caught.value.faults] == ["tasks.roi_size", "tasks.chunksize"]
    assert "did you mean 'chunk_size'" in str(caught.value)


def test_a_job_is_recorded(ledger: Ledger) -> None:
    plan = make_plan("q", "j", GRID)
    assert record_job(ledger, plan.record) is True
    assert ledger.jobs() == [plan.record]
    assert ledger.jobs()[0].boxes() == plan.boxes


def test_the_same_job_may_be_sent_again(ledger: Ledger) -> None:
    record_job(ledger, make_plan("q", "j", GRID).record)
    assert record_job(ledger, make_plan("q", "j", GRID).record) is False
    assert [job.tasks for job in ledger.jobs()] == [8]


@pytest.mark.parametrize(
    "parts",
    [[(0, 3), (3, 8)], [(3, 8), (0, 3)], [(0, 8), (5, 8)], [(2, 4), (3, 6), (0, 3), (6, 8)]],
)
def test_parts_of_a_job_are_one_job(ledger: Ledger, parts: list[tuple[int, int]]) -> None:
    for start, stop in parts:
        record_job(
            ledger,
            make_plan("q", "j", GRID | {"task_index_start": start, "task_index_stop": stop}).record,
        )
    (job,) = ledger.jobs()
    assert job.tasks == 8
    assert list(job.boxes()) == list(make_plan("q", "j", GRID).boxes)


@pytest.mark.parametrize(
    "options",
    [
        GRID | {"chunk_size": (2, 2, 4)},
        GRID | {"roi_start": (2, 2, 2)},
        GRID | {"task_index_start": 4},
    ],
)
def test_another_job_of_the_same_name_is_refused(ledger: Ledger, options: dict[str, Any]) -> None:
    record_job(ledger, make_plan("q", "j", GRID | {"task_index_stop": 3}).record)
    with pytest.raises(ConfigError, match="choose another --job"):
        record_job(ledger, make_plan("q", "j", options).record)
    assert [job.tasks for job in ledger.jobs()] == [3]


def test_the_same_job_with_another_pipeline_is_refused(
    ledger: Ledger, pipeline: PipelineFile
) -> None:
    record_job(ledger, make_plan("q", "j", GRID).record)
    with pytest.raises(ConfigError, match="another grid or pipeline"):
        record_job(ledger, make_plan("q", "j", GRID, pipeline).record)


def test_boxes_that_are_done_already_are_noticed(
    ledger: Ledger, write_record: Callable[..., None]
) -> None:
    boxes = make_plan("q", "j", GRID).boxes
    assert not some_are_done(ledger, boxes)
    write_record(str(boxes[5]), "failed")
    assert not some_are_done(ledger, boxes)
    write_record(str(boxes[5]))
    assert some_are_done(ledger, boxes)


@pytest.mark.parametrize("change", [{"grid": {"unknown": 1}}, {"bounds": "nonsense"}, {"grid": {}}])
def test_a_record_that_can_not_be_read_is_told(change: dict[str, Any]) -> None:
    record = JobRecord.model_validate({"job": "j", "queue": "q", "tasks": 1} | change)
    with pytest.raises(ConfigError):
        record.boxes()
