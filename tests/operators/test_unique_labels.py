from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.unique_labels import UniqueLabels
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

BOX = BoundingBox.parse("0-2_0-2_2-4")
BOUNDS = BoundingBox.parse("0-2_0-2_0-4")


def chunk(values: int = 1, start: int = 2, width: int = 2, **options: object) -> Chunk:
    array = np.full((2, 2, width), values, np.uint32)
    given = {"voxel_size": (40.0, 4.0, 4.0), "bounds": BOUNDS} | options
    return Chunk(array, Vec3(0, 0, start), layer_type="segmentation", **given)  # type: ignore[arg-type]


def test_it_labels_a_box_and_leaves_three_files(run_step, tmp_path: Path) -> None:
    operator = UniqueLabels(work_path=f"{tmp_path}/", chunk_size=(2, 2, 2))
    task = run_step(operator, bbox=BOX, chunk=chunk())
    made = task.chunk("chunk")
    assert made.array.dtype == np.dtype(operator.output_type) == np.uint64
    assert {*made.array.flat} == {3}, "1 + the index of its first voxel, 0 0 2"
    files = {f"{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*.*")}
    assert files == {"layout.json", f"faces/{BOX}.npz", f"objects/{BOX}.npz"}
    assert {Path(name).resolve() for name in operator.files_of(task, BOX)} == {
        tmp_path / f"faces/{BOX}.npz", tmp_path / f"objects/{BOX}.npz"
    }  # fmt: skip
    grid = json.loads((tmp_path / "layout.json").read_text())["grid"]
    assert (grid["start"], grid["grid_size"], grid["stop"]) == ([0, 0, 0], [1, 1, 2], None)
    assert task.bytes_written > 0


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    operator = UniqueLabels(work_path=str(tmp_path / "labels"), chunk_size=(2, 2, 2))
    with operator.open(Run(needed_box=lambda box, _: box, dry_run=True)) as step:
        task = Task(BOX, {"chunk": chunk()})
        step(task)
    assert task.chunk("chunk").array.max() == 3
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("options", "given", "problem"),
    [
        ({}, {"bounds": None}, "region: is not given"),
        ({"chunk_size": (2, 2, 3)}, {}, r"cuts 0-2_0-2_0-6 into other boxes than 0-2_0-2_2-4"),
        ({"roi_start": (0, 0, 1)}, {}, "give chunk_size, roi_start"),
        ({"link_by": "overlap", "overlap": (0, 0, 1)}, {}, "it must be 0-2_0-2_1-4"),
        ({}, {"voxel_size": (80.0, 8.0, 8.0)}, "has larger voxels than the boxes"),
    ],
)
def test_a_wrong_grid_is_refused(run_step, tmp_path: Path, options, given, problem: str) -> None:
    operator = UniqueLabels(work_path=str(tmp_path), **({"chunk_size": (2, 2, 2)} | options))
    task = Task(BOX, {"chunk": chunk(**given)}, voxel_size=(40.0, 4.0, 4.0))
    with pytest.raises((ConfigError, ChunkMismatch), match=f"(?s){problem}"):
        run_step(operator, task)
    assert not list(tmp_path.iterdir())


def test_a_task_without_a_box_is_refused(run_step, tmp_path: Path) -> None:
    operator = UniqueLabels(work_path=str(tmp_path), chunk_size=(2, 2, 2))
    with pytest.raises(ConfigError, match="have no boxes"):
        run_step(operator, chunk=chunk())


def test_overlap_is_a_margin_and_needs_its_size(tmp_path: Path) -> None:
    made = UniqueLabels(work_path="w", chunk_size=(4, 8, 8), link_by="overlap", overlap=(0, 2, 2))
    assert made.margin == Vec3(0, 2, 2)
    for wrong in ({"link_by": "overlap"}, {"overlap": (1, 1, 1)},
                  {"link_by": "overlap", "overlap": (5, 0, 0)}):  # fmt: skip
        with pytest.raises(ValidationError, match="overlap"):
            UniqueLabels(work_path="w", chunk_size=(4, 8, 8), **wrong)
