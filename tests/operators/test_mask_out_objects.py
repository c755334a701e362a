from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.mask_out_objects import MaskOutObjects
from chunkflow_worker.storage.files import Files

SEGMENTATION: dict[str, Any] = {"layer_type": "segmentation"}


def test_small_objects_and_unselected_objects_are_removed(run_step, tmp_path) -> None:
    ids = np.random.default_rng(0).integers(0, 30, (6, 7, 8)).astype(np.uint64) ** 2
    sizes = {int(i): int((ids == i).sum()) for i in np.unique(ids)}
    large = run_step(MaskOutObjects(dust_size_threshold=12), chunk=Chunk(ids)).chunk("chunk").array
    assert np.array_equal(large, np.vectorize(lambda i: i if sizes[i] >= 12 else 0)(ids))
    assert 0 < len(np.unique(large)) < len(sizes)
    (tmp_path / "ids.json").write_text("[4, 49]")
    Files("mem://lab/seg").put_json("ids.json", [4, 49])
    for given in (
        "4,49",
        str(tmp_path / "ids.json"),
        f"file://{tmp_path}/ids.json",
        "mem://lab/seg/ids.json",
    ):
        kept = (
            run_step(MaskOutObjects(selected_obj_ids=given), chunk=Chunk(ids)).chunk("chunk").array
        )
        assert np.array_equal(kept, np.where((ids == 4) | (ids == 49), ids, 0))
    assert 0 in sizes
    assert len(np.unique(ids)) == len(sizes), "the input does not change"


def test_a_single_channel_and_a_boolean_mask_are_accepted_as_segmentations(run_step) -> None:
    ids = np.array([[[[7, 7, 8]]]], np.uint32)
    made = run_step(MaskOutObjects(dust_size_threshold=2), chunk=Chunk(ids)).chunk("chunk")
    assert made.array.tolist() == [[[[7, 7, 0]]]]
    mask = Chunk(ids[0] == 7)
    for least, kept in ((2, 1), (3, 0)):
        made = run_step(MaskOutObjects(dust_size_threshold=least), chunk=mask).chunk("chunk")
        assert made.array.tolist() == [[[kept, kept, 0]]]


def test_unsupported_input_is_refused(run_step) -> None:
    with pytest.raises(ValueError, match="or both"):
        MaskOutObjects()
    with pytest.raises(ChunkflowError, match="does not hold ids"):
        run_step(MaskOutObjects(selected_obj_ids="a"), chunk=Chunk(np.ones((1, 1, 1), np.uint8)))
    with pytest.raises(ChunkflowError, match=r"there is no file mem://lab/none\.json"):
        run_step(
            MaskOutObjects(selected_obj_ids="mem://lab/none.json"),
            chunk=Chunk(np.ones((1, 1, 1), np.uint8)),
        )
    with pytest.raises(ChunkflowError, match="a segmentation is needed"):
        run_step(MaskOutObjects(dust_size_threshold=1), chunk=Chunk(np.ones((1, 1, 1), np.float32)))


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
def test_negative_ids_are_counted_like_others(run_step, kind: str) -> None:
    limits = np.iinfo(kind)
    ids = np.array([0, 1, -1, limits.max, limits.min, limits.min + 1], kind)
    objects = np.repeat(ids, [50, 3, 9, 9, 9, 3])[None, None]
    made = run_step(MaskOutObjects(dust_size_threshold=4), chunk=Chunk(objects, **SEGMENTATION))
    expected = np.where(np.isin(objects, ids[[2, 3, 4]]), objects, 0)
    assert made.chunk("chunk").dtype == kind
    assert np.array_equal(made.chunk("chunk").array, expected)
