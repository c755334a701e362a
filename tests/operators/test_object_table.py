from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.merge_labels import MergeLabels
from chunkflow_worker.operators.object_table import ObjectTable
from chunkflow_worker.operators.unique_labels import UniqueLabels
from chunkflow_worker.pipeline.task import SkipTask

REGION = BoundingBox.parse("5-6_0-2_0-4")


@pytest.fixture
def work_path(run_step, tmp_path: Path) -> str:
    """Two boxes: an object of class 7 in both, and one of class 9 in the second."""
    classes = np.array([[[7, 7, 7, 0], [0, 0, 0, 9]]], np.uint8)
    region = {"roi_start": (5, 0, 0), "roi_stop": (6, 2, 4), "chunk_size": (1, 2, 2)}
    operator = UniqueLabels(work_path=f"{tmp_path}/labels", input_class_name="classes", **region)
    for x in (0, 2):
        part = classes[..., x : x + 2]
        chunk = Chunk(part, Vec3(5, 0, x), (40.0, 4.0, 4.0), layer_type="segmentation")
        run_step(operator, bbox=chunk.bbox, chunk=chunk, classes=chunk)
    run_step(MergeLabels(work_path=f"{tmp_path}/labels"), bbox=REGION)
    return f"{tmp_path}/labels"


def test_a_row_tells_all_of_an_object_in_both_formats(run_step, work_path, tmp_path: Path) -> None:
    for name in ("csv", "parquet"):
        operator = ObjectTable(work_path=work_path, output_path=f"{tmp_path}/table", format=name,
                               compact=True)  # fmt: skip
        run_step(operator, bbox=REGION)
    table = pyarrow.parquet.read_table(tmp_path / "table" / f"{REGION}.parquet").to_pylist()
    assert table == [
        {"id": 1, "voxels": 3, "z_voxel": 5.0, "y_voxel": 0.0, "x_voxel": 1.0, "z_nm": 200.0,
         "y_nm": 0.0, "x_nm": 4.0, "z_start": 5, "z_stop": 6, "y_start": 0, "y_stop": 1,
         "x_start": 0, "x_stop": 3, "class": 7, "at_border": True},
        {"id": 2, "voxels": 1, "z_voxel": 5.0, "y_voxel": 1.0, "x_voxel": 3.0, "z_nm": 200.0,
         "y_nm": 4.0, "x_nm": 12.0, "z_start": 5, "z_stop": 6, "y_start": 1, "y_stop": 2,
         "x_start": 3, "x_stop": 4, "class": 9, "at_border": True},
    ]  # fmt: skip
    with (tmp_path / "table" / f"{REGION}.csv").open() as file:
        assert [{k: str(v) for k, v in row.items()} for row in table] == list(csv.DictReader(file))


def test_without_compact_it_names_objects_as_relabel_does(run_step, work_path, tmp_path) -> None:
    run_step(ObjectTable(work_path=work_path, output_path=str(tmp_path)), bbox=REGION)
    table = pyarrow.parquet.read_table(tmp_path / f"{REGION}.parquet")
    assert table["id"].to_pylist() == [1, 8]


def test_other_tasks_than_regions_are_refused(run_step, work_path, tmp_path: Path) -> None:
    operator = ObjectTable(work_path=work_path, output_path=str(tmp_path))
    with pytest.raises(SkipTask, match="single box"):
        run_step(operator, bbox=BoundingBox.parse("5-6_0-2_0-2"))
    for box in (None, BoundingBox.parse("0-1_0-2_0-4")):
        with pytest.raises(ConfigError, match="regions that merge-labels joined"):
            run_step(operator, bbox=box)
