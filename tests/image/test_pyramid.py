from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.pyramid import downsample

SHAPES = arrays.array_shapes(min_dims=3, max_dims=4, max_side=7)
FACTORS = st.builds(Vec3, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
OFFSETS = st.builds(Vec3, st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))


def covered(chunk: Chunk, factor: Vec3) -> dict[tuple[int, ...], list]:
    """Values of the fine voxels in zyx order, by channel and global position of a coarse voxel.

    An independent computation, one voxel at a time.
    """
    values: dict[tuple[int, ...], list] = {}
    for channel in range(chunk.channels):
        for place in product(*map(range, chunk.array.shape[-3:])):
            coarse = [
                (p + o) // f for p, o, f in zip(place, chunk.voxel_offset, factor, strict=True)
            ]
            value = chunk.czyx[(channel, *place)].item()
            values.setdefault((channel, *coarse), []).append(value)
    return values


def voxels_of(chunk: Chunk) -> dict[tuple[int, ...], object]:
    """Its values by channel and global position."""
    places = np.ndindex(chunk.czyx.shape)
    return {
        (c, *(Vec3(z, y, x) + chunk.voxel_offset)): chunk.czyx[c, z, y, x].item()
        for c, z, y, x in places
    }


@settings(max_examples=60)
@given(
    array=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]).flatmap(
        lambda d: arrays.arrays(d, SHAPES)
    ),
    factor=FACTORS,
    offset=OFFSETS,
)
def test_integers_become_their_mean_rounded_with_halves_to_even(
    array, factor: Vec3, offset: Vec3
) -> None:
    chunk = Chunk(array, offset)
    result = downsample(chunk, factor)
    # round() of a fraction is exact, and rounds halves to even.
    assert voxels_of(result) == {
        at: round(Fraction(sum(v), len(v))) for at, v in covered(chunk, factor).items()
    }
    assert result.dtype == array.dtype
    assert result.array.ndim == array.ndim


@settings(max_examples=60)
@given(
    array=st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64, np.int64]).flatmap(
        lambda d: arrays.arrays(d, SHAPES, elements=st.sampled_from([0, 1, 2, np.iinfo(d).max]))
    ),
    factor=FACTORS,
    offset=OFFSETS,
)
def test_ids_become_the_most_frequent_one_and_of_equals_the_first(
    array, factor: Vec3, offset: Vec3
) -> None:
    chunk = Chunk(array, offset, layer_type="segmentation")
    result = downsample(chunk, factor)
    # Counter.most_common keeps the order of insertion among equal counts.
    assert voxels_of(result) == {
        at: Counter(v).most_common(1)[0][0] for at, v in covered(chunk, factor).items()
    }
    assert result.dtype == array.dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fractions_are_averaged_per_channel(dtype: type) -> None:
    array = np.random.default_rng(1).random((3, 6, 7, 8)).astype(dtype)
    result = downsample(Chunk(array), Vec3(1, 2, 2))
    expected = {
        at: float(np.mean(np.float64(v))) for at, v in covered(Chunk(array), Vec3(1, 2, 2)).items()
    }
    assert voxels_of(result) == pytest.approx(expected, rel=2 * float(np.finfo(dtype).eps))
    assert result.dtype == dtype
    assert result.array.shape == (3, 6, 4, 4)


def test_position_and_voxel_size_follow_an_anisotropic_factor() -> None:
    bounds = BoundingBox.parse("2-9_-6-20_4-31")
    chunk = Chunk(np.zeros((7, 6, 4), np.uint8), Vec3(2, -6, 4), (40.0, 8.0, 4.0), "image", bounds)
    result = downsample(chunk, Vec3(1, 3, 2))
    assert (result.bbox, result.voxel_size) == (
        BoundingBox.parse("2-9_-2-0_2-4"),
        (40.0, 24.0, 8.0),
    )
    assert result.bounds == BoundingBox.parse("2-9_-2-7_2-16")


def test_a_factor_of_one_changes_nothing() -> None:
    array = np.random.default_rng(0).integers(0, 9, (3, 4, 5), np.uint8)
    assert np.array_equal(downsample(Chunk(array), Vec3(1, 1, 1)).array, array)


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, bool])
def test_large_integers_hold_ids_whatever_their_layer_type(dtype: type) -> None:
    values = np.array([[[0, 1], [1, 1]]], dtype)
    assert downsample(Chunk(values), Vec3(1, 2, 2)).array.tolist() == [[[1]]]


@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64"])
def test_large_integers_that_the_user_calls_an_image_are_averaged(dtype: str) -> None:
    top = np.iinfo(dtype).max
    values = np.array([[[0, 8, top, top], [4, 8, top, top]]], dtype)
    made = downsample(Chunk(values, is_image=True), Vec3(1, 2, 2))
    assert made.array.tolist() == [[[5, top]]]
    assert not made.is_segmentation


def test_a_chunk_that_cuts_a_coarse_voxel_inside_the_image_is_refused() -> None:
    """Its neighbour would hold another part of that voxel, and both results would be wrong."""
    bounds = BoundingBox.parse("0-9_0-9_0-9")
    chunk = Chunk(np.zeros((9, 9, 5), np.uint8), Vec3(0, 0, 0), bounds=bounds)
    with pytest.raises(ChunkMismatch, match=r"multiples of \[2, 2, 2\], for example 0-9_0-9_0-6"):
        downsample(chunk, Vec3(2, 2, 2))
    assert downsample(chunk, Vec3(2, 2, 1)).array.shape == (5, 5, 5)
    with pytest.raises(ChunkMismatch, match="cuts voxels"):
        downsample(
            Chunk(np.zeros((9, 9, 4), np.uint8), Vec3(0, 0, 5), bounds=bounds), Vec3(2, 2, 2)
        )


def test_a_segmentation_of_fractions_is_refused() -> None:
    with pytest.raises(ChunkMismatch, match="whole numbers, and this one is float32"):
        downsample(Chunk(np.zeros((2, 2, 2), np.float32), layer_type="segmentation"), Vec3(2, 2, 2))
