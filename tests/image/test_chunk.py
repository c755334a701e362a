from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk


def test_bbox_follows_offset_and_shape() -> None:
    chunk = Chunk(np.zeros((2, 3, 4, 5)), Vec3(-1, 10, 20))
    assert chunk.bbox == BoundingBox.parse("-1-2_10-14_20-25")
    assert chunk.channels == 2
    assert Chunk(np.zeros((3, 4, 5))).czyx.shape == (1, 3, 4, 5)


def test_cutout_has_the_same_voxels_at_the_same_position() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    part = Chunk(array, Vec3(10, 20, 30)).cutout(BoundingBox.parse("11-13_20-25_33-34"))
    assert np.array_equal(part.array, array[1:3, 0:5, 3:4])
    assert part.voxel_offset == Vec3(11, 20, 33)


def test_cutout_outside_is_refused() -> None:
    with pytest.raises(ChunkMismatch, match="0-4_0-4_0-4 does not cover the box 2-6"):
        Chunk(np.zeros((4, 4, 4))).cutout(BoundingBox.parse("2-6_0-4_0-4"))


@pytest.mark.parametrize("shape", [(3,), (3, 3), (1, 1, 3, 3, 3)])
def test_other_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ChunkMismatch, match="3 axes"):
        Chunk(np.zeros(shape))


@pytest.mark.parametrize(
    ("dtype", "layer_type", "is_segmentation"),
    [
        ("uint8", "image", False),
        ("uint16", "image", False),
        ("float64", "image", False),
        ("uint32", "image", True),
        ("int64", "image", True),
        ("uint8", "segmentation", True),
    ],
)
def test_wide_integers_and_the_layer_type_make_a_segmentation(
    dtype: str, layer_type: str, is_segmentation: bool
) -> None:
    chunk = Chunk(np.zeros((1, 1, 1), dtype), layer_type=layer_type)  # type: ignore[arg-type]
    assert chunk.is_segmentation is is_segmentation


def test_object_ids_are_a_view_without_the_channel_axis() -> None:
    array = np.arange(8, dtype=np.int64).reshape(1, 2, 2, 2)
    ids = Chunk(array).object_ids("ids")
    assert ids.shape == (2, 2, 2)
    assert np.shares_memory(ids, array)
    mask = np.array([[[True, False]]])
    assert Chunk(mask).object_ids("mask").dtype == np.uint8
    assert Chunk(mask).object_ids("mask").tolist() == [[[1, 0]]]
