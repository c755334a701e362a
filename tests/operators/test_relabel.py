from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.merge_labels import MergeLabels
from chunkflow_worker.operators.relabel import Relabel
from chunkflow_worker.operators.unique_labels import UniqueLabels

ROW = np.array([[[0, 1, 1, 1, 0, 0, 1, 0]]], np.uint8)


@pytest.fixture
def parts(run_step, tmp_path: Path) -> Chunk:
    """A row of two objects, of which the larger one lies in two boxes."""
    operator = UniqueLabels(work_path=str(tmp_path), chunk_size=(1, 1, 2), roi_start=(0, 0, 0),
                            roi_stop=(1, 1, 8))  # fmt: skip
    whole = np.zeros(ROW.shape, np.uint64)
    for x in range(0, 8, 2):
        chunk = Chunk(ROW[..., x : x + 2], Vec3(0, 0, x))
        whole[..., x : x + 2] = (
            run_step(operator, bbox=chunk.bbox, chunk=chunk).chunk("chunk").array
        )
    merge = MergeLabels(work_path=str(tmp_path), min_size=2)
    for name in ("0-1_0-1_0-4", "0-1_0-1_4-8", "0-1_0-1_0-8"):
        run_step(merge, bbox=BoundingBox.parse(name))
    return Chunk(whole, layer_type="segmentation")


@pytest.mark.parametrize(
    ("options", "number"), [({}, 2), ({"compact": True, "dtype": "uint32"}, 1)]
)
def test_ids_are_final_also_around_the_box(
    run_step, parts, tmp_path: Path, options, number
) -> None:
    assert parts.array.tolist() == [[[0, 2, 3, 3, 0, 0, 7, 0]]]
    operator = Relabel(work_path=str(tmp_path), **options)
    made = run_step(operator, bbox=BoundingBox.parse("0-1_0-1_2-4"), chunk=parts).chunk("chunk")
    assert made.array.tolist() == [[[0, number, number, number, 0, 0, 0, 0]]], "7 has one voxel"
    assert made.array.dtype == options.get("dtype", "uint64")
    assert made.layer_type == "segmentation"


def test_what_is_not_of_this_labelling_is_refused(run_step, parts, tmp_path: Path) -> None:
    operator = Relabel(work_path=str(tmp_path))
    with pytest.raises(DataMissing, match="for example 4"):
        run_step(operator, chunk=parts.with_array(np.full((1, 1, 2), 4, np.uint64)))
    with pytest.raises(DataMissing, match="for example 99"):
        run_step(operator, chunk=parts.with_array(np.full((1, 1, 2), 99, np.uint64)))
    with pytest.raises(ChunkMismatch, match="takes the uint64 ids"):
        run_step(operator, chunk=parts.with_array(np.ones((1, 1, 2), np.uint32)))
