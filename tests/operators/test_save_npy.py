"""save-npy: the tests read files with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_npy import LoadNpy
from chunkflow_worker.operators.save_npy import SaveNpy
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 3, 4, 5)])
def test_the_file_holds_the_voxels(run_step, tmp_path, dtype, shape) -> None:
    array = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    task = run_step(SaveNpy(file_name=f"{tmp_path}/a.npy"), chunk=Chunk(array, Vec3(1, 2, 3)))
    back = np.load(tmp_path / "a.npy")
    assert np.array_equal(back, array)
    assert back.dtype == dtype
    assert task.bytes_written == array.nbytes


def test_load_npy_restores_the_offset_from_the_box_in_the_file_name(run_step, tmp_path) -> None:
    box = BoundingBox.parse("-2-2_3-6_0-5")
    chunk = Chunk(
        np.arange(6 * 5 * 7, dtype=np.int32).reshape(6, 5, 7), Vec3(-3, 2, -1), (40.0, 7.16, 7.5)
    )
    run_step(SaveNpy(file_name=f"{tmp_path}/a_"), chunk=chunk, bbox=box)
    back = run_step(
        LoadNpy(file_name=f"{tmp_path}/a_", voxel_size=chunk.voxel_size), bbox=box
    ).chunk("chunk")
    assert np.array_equal(back.array, chunk.cutout(box).array)
    assert (back.bbox, back.voxel_size, back.dtype) == (box, chunk.voxel_size, np.int32)


def test_two_boxes_may_not_share_a_file(tmp_path) -> None:
    with SaveNpy(file_name=f"{tmp_path}/a.npy").open(Run(lambda box, bounds: box)) as step:
        step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1)))}))
        with pytest.raises(
            ConfigError, match="would overwrite what was written for box 0-1_0-1_0-1"
        ):
            step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1)), Vec3(1, 0, 0))}))


def test_a_dry_run_writes_nothing(tmp_path) -> None:
    with SaveNpy(file_name=f"{tmp_path}/a.npy").open(
        Run(lambda box, bounds: box, dry_run=True)
    ) as step:
        step(Task(values={"chunk": Chunk(np.zeros((1, 1, 1)))}))
    assert not list(tmp_path.iterdir())
