from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk, convert, count_nan


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


def test_float_becomes_uint8_without_wrapping_around() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, np.inf, -np.inf, np.nan], np.float32)
    before = values.copy()
    assert convert(values, np.uint8).tolist() == [0, 0, 128, 255, 255, 255, 0, 0]
    assert np.array_equal(values, before, equal_nan=True), "the array in memory does not change"


def test_every_grey_value_survives_the_conversion_to_float_and_back() -> None:
    grey = np.arange(256, dtype=np.uint8)
    for kind in (np.float16, np.float32, np.float64):
        assert np.array_equal(convert(convert(grey, kind), np.uint8), grey)


@pytest.mark.parametrize("target", [np.uint16, np.uint32, np.uint64, np.int32])
def test_float_saturates_at_the_limits_of_wide_integers(target: type[np.integer]) -> None:
    limits = np.iinfo(target)
    values = np.array([-1e30, -0.4, 7.6, 1e30, np.nan], np.float32)
    assert convert(values, target).tolist() == [limits.min, 0, 8, limits.max, 0]


def test_integers_saturate() -> None:
    values = np.array([0, 255, 256, 70000], np.uint32)
    assert convert(values, np.uint8).tolist() == [0, 255, 255, 255]
    assert convert(np.array([-5, 5], np.int16), np.uint64).tolist() == [0, 5]


@given(arrays.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)))
def test_conversion_to_uint16_is_rounding_and_clipping(values: np.ndarray) -> None:
    expected = [min(max(round(v), 0), 65535) for v in values.tolist()]
    assert convert(values, np.uint16).tolist() == expected


def test_float16_saturates_at_limits_that_it_cannot_hold() -> None:
    values = np.array([-1, 2, np.inf], np.float16)
    assert convert(values, np.uint32).tolist() == [0, 2, 2**32 - 1]


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


def test_nan_is_counted_in_floats_alone() -> None:
    assert count_nan(np.array([1, np.nan, np.nan, np.inf])) == 2
    assert count_nan(np.array([1, 2])) == 0
