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


@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64"])
def test_wide_integers_are_an_image_if_the_user_says_so(dtype: str) -> None:
    ids = Chunk(np.full((2, 1, 3), 70000, dtype))
    with pytest.raises(ChunkMismatch, match=r"70000.* an image, load them with --layer-type image"):
        ids.as_dtype("uint16")
    image = Chunk(ids.array, is_image=True)
    assert not image.is_segmentation
    assert (image.as_dtype("uint16").array == 65535).all()
    assert not image.cutout(BoundingBox.parse("0-1_0-1_0-1")).is_segmentation
    assert Chunk(ids.array, layer_type="segmentation", is_image=True).is_segmentation


@pytest.mark.parametrize("target", ["uint8", "uint16", "float16", "float32", "int64"])
@pytest.mark.parametrize("source", ["uint8", "uint32", "float32"])
def test_what_was_made_of_ids_stays_a_segmentation_of_the_same_ids(source, target) -> None:
    chunk = Chunk(np.array([[[0, 1, 200]]], source), layer_type="segmentation")
    made = chunk.as_dtype(target)
    assert made.array.tolist() == [[[0, 1, 200]]]
    assert (made.dtype, made.layer_type) == (target, "segmentation")
    untold = Chunk(np.array([[[0, 1, 200]]], np.uint32)).as_dtype(target)
    assert (untold.array.tolist(), untold.is_segmentation) == ([[[0, 1, 200]]], True)


def test_ids_are_not_scaled() -> None:
    with pytest.raises(ChunkMismatch, match="can't be scaled"):
        Chunk(np.zeros((1, 1, 1), np.uint64)).as_dtype("uint8", scale=(0, 1))


def test_object_ids_are_a_view_without_the_channel_axis() -> None:
    array = np.arange(8, dtype=np.int64).reshape(1, 2, 2, 2)
    ids = Chunk(array).object_ids("ids")
    assert ids.shape == (2, 2, 2)
    assert np.shares_memory(ids, array)
    mask = np.array([[[True, False]]])
    assert Chunk(mask).object_ids("mask").dtype == np.uint8
    assert Chunk(mask).object_ids("mask").tolist() == [[[1, 0]]]
