from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.message import JOB_NAME
from producer.plan.job import make_plan
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
"""
GRID = Grid(chunk_size=(2, 2, 2), roi_size=(4, 4, 4))


@pytest.fixture
def pipeline(tmp_path: Path) -> PipelineFile:
    path = tmp_path / "segment it.v2.yaml"
    path.write_text(CHAIN)
    return PipelineFile.load(path)


def test_a_pipeline_file_gives_the_region_and_the_digest(pipeline: PipelineFile) -> None:
    plan = make_plan("q", "j", Grid(), pipeline)
    assert [str(box) for box in plan.boxes][:2] == ["0-2_0-2_0-2", "0-2_0-2_2-4"]
    record = plan.record
    assert (record.job, record.queue, record.tasks, record.bounds) == ("j", "q", 8, None)
    assert record.pipeline == pipeline.digest
    assert record.enqueued == record.began != ""


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
def test_options_replace_those_of_the_file(
    pipeline: PipelineFile, options: dict[str, Any], last: str
) -> None:
    assert str(make_plan("q", "j", Grid(**options), pipeline).boxes[-1]) == last


def test_an_option_may_have_its_default_value(pipeline: PipelineFile) -> None:
    pipeline.tasks["respect_chunk_size"] = False
    pipeline.tasks["chunk_size"] = [3, 3, 3]
    cut, whole = Grid(), Grid(respect_chunk_size=True)
    assert str(make_plan("q", "j", cut, pipeline).boxes[-1]) == "3-4_3-4_3-4"
    assert str(make_plan("q", "j", whole, pipeline).boxes[-1]) == "3-6_3-6_3-6"


def test_the_volume_s_bounds_are_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def bounds(path: str, mip: int) -> BoundingBox:
        asked.append((path, mip))
        return BoundingBox.parse("10-14_0-4_0-4")

    monkeypatch.setattr("chunkflow_worker.volumes.open_volume.volume_bounds", bounds)
    plan = make_plan("q", "j", Grid(volume_path="s3://b/v", mip=2, chunk_size=(2, 4, 4)))
    assert asked == [("s3://b/v", 2)]
    assert [str(box) for box in plan.boxes] == ["10-12_0-4_0-4", "12-14_0-4_0-4"]
    assert plan.record.bounds == "10-14_0-4_0-4"
    assert plan.record.boxes() == plan.boxes


def test_the_record_gives_the_same_boxes() -> None:
    plan = make_plan("q", "j", GRID.model_copy(update={"task_index_start": 3}))
    assert (plan.record.tasks, plan.record.pipeline) == (5, "")
    assert plan.record.boxes() == plan.boxes


def test_a_job_s_name_is_made_from_the_file_s_and_the_time(pipeline: PipelineFile) -> None:
    name = make_plan("q", None, Grid(), pipeline).record.job
    assert re.fullmatch(r"segment-it\.v2-\d{8}T\d{6}Z", name)
    assert re.fullmatch(JOB_NAME, name)
    assert make_plan("q", None, GRID).record.job.startswith("job-")


@pytest.mark.parametrize("name", ["a b", "../x", "-x", "x" * 81, "x\n"])
def test_names_that_are_not_job_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a job name"):
        make_plan("q", name, GRID)


def test_all_faults_of_the_options_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "operators: [{op: a}]\ntasks: {op: generate-tasks, chunksize: [1, 1, 1], roi_size: 5}"
    )
    with pytest.raises(ConfigError) as caught:
        make_plan("q", "j", Grid(), PipelineFile.load(path))
    assert [fault.place for fault in caught.value.faults] == ["tasks.roi_size", "tasks.chunksize"]
    assert "did you mean 'chunk_size'" in str(caught.value)
    assert str(path) in str(caught.value)
