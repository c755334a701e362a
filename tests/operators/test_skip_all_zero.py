from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.skip_all_zero import SkipAllZero
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import SkipTask, Task

BOX = BoundingBox.parse("10-14_0-4_0-4")
CHUNK = Chunk(
    np.zeros((2, 6, 6, 6), np.float32), Vec3(9, -1, -1)
)  # a margin of one voxel around the box


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "10-14_0-4_0-4.zero"), ({"chunk_bbox": False, "adjust_size": 2}, "8-16_-2-6_-2-6.zero")],
)
def test_a_chunk_of_zeros_skips_the_task(
    run_step: Callable[..., Task], tmp_path: Path, options: dict, name: str
) -> None:
    operator = SkipAllZero(prefix=f"{tmp_path}/", suffix=".zero", **options)
    with pytest.raises(SkipTask, match="all voxels of 'chunk' are zero"):
        run_step(operator, bbox=BOX, chunk=CHUNK)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("value", [1e-30, -1.0, np.nan])
def test_one_nonzero_voxel_is_enough_to_continue(
    run_step: Callable[..., Task], tmp_path: Path, value: float
) -> None:
    array = CHUNK.array.copy()
    array[1, 5, 5, 5] = value
    run_step(SkipAllZero(prefix=f"{tmp_path}/"), bbox=BOX, chunk=CHUNK.with_array(array))
    assert not [*tmp_path.iterdir()]


def test_writes_nothing_without_a_prefix_or_in_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for operator, dry in ((SkipAllZero(), False), (SkipAllZero(prefix="x"), True)):
        with (
            operator.open(Run(needed_box=lambda box, bounds: box, dry_run=dry)) as step,
            pytest.raises(SkipTask),
        ):
            step(Task(bbox=BOX, values={"chunk": CHUNK}))
    assert not [*tmp_path.iterdir()]
