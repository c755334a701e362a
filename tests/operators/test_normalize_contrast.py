"""normalize-contrast"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.normalize_contrast import NormalizeContrast


def stretched(
    values: np.ndarray, lower: float, upper: float, minval: int, maxval: int
) -> np.ndarray:
    """The expected result: sorts the voxels, and handles one grey value at a time."""
    voxels = sorted(int(v) for v in values.ravel() if v)
    count = len(voxels)
    if not count:
        return values
    dark = next(g for g in range(1, 256) if sum(v <= g for v in voxels) > lower * count)
    bright = next(g for g in range(255, 0, -1) if sum(v >= g for v in voxels) > upper * count)
    if dark >= bright:
        return values
    new = {0: 0}
    for grey in range(1, 256):
        exact = minval + (min(max(grey, dark), bright) - dark) * (maxval - minval) / (bright - dark)
        new[grey] = exact  # type: ignore[assignment]
    return np.array([new[int(v)] for v in values.ravel()]).reshape(values.shape)


@pytest.mark.parametrize("darkest", [1, 300, 40000])
def test_sixteen_bits_become_eight_of_the_full_range(run_step, darkest: int) -> None:
    greys = np.arange(darkest, darkest + 20 * 256, 20, dtype=np.uint16)
    section = np.concatenate([greys, np.zeros(8, np.uint16)]).reshape(1, 4, -1)
    operator = NormalizeContrast(lower_clip_fraction=0, upper_clip_fraction=0, minval=0)
    made = run_step(operator, chunk=Chunk(section)).chunk("chunk").array
    assert made.dtype == np.uint8
    assert made.ravel().tolist() == [*range(256), *[0] * 8]


@pytest.mark.parametrize(("grey", "made"), [(65535, 255), (256, 1), (32768, 128)])
def test_a_section_of_one_grey_of_sixteen_bits_is_divided_by_256(run_step, grey, made) -> None:
    chunk = Chunk(np.full((1, 2, 3), grey, np.uint16))
    assert (run_step(NormalizeContrast(), chunk=chunk).chunk("chunk").array == made).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    array=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=4, max_side=5)),
    fractions=st.tuples(st.sampled_from([0, 0.01, 0.1, 0.3]), st.sampled_from([0, 0.01, 0.2, 0.6])),
    values=st.sampled_from([(1, 255), (0, 255), (100, 200), (254, 255)]),
    per_section=st.booleans(),
)
def test_grey_values_are_stretched_as_computed_by_sorting(
    run_step, array, fractions, values, per_section
) -> None:
    chunk = Chunk(
        array.copy(), Vec3(1, 2, 3), (40.0, 4.0, 4.0), "image", BoundingBox.parse("0-90_0-90_0-90")
    )
    operator = NormalizeContrast(
        lower_clip_fraction=fractions[0],
        upper_clip_fraction=fractions[1],
        minval=values[0],
        maxval=values[1],
        per_section=per_section,
    )
    result = run_step(operator, chunk=chunk).chunk("chunk")
    assert (result.dtype, result.array.shape) == (np.uint8, array.shape)
    assert result.bbox == chunk.bbox
    assert result.voxel_size == chunk.voxel_size
    assert result.bounds == chunk.bounds
    assert np.array_equal(chunk.array, array)
    for old, new in zip(chunk.czyx, result.czyx, strict=True):
        parts = list(zip(old, new, strict=True)) if per_section else [(old, new)]
        for before, after in parts:
            exact = stretched(before, *fractions, *values)
            assert np.abs(exact - after).max() <= 0.5 + 1e-6


def test_only_the_given_fractions_are_clipped_and_zeros_stay_zero(run_step) -> None:
    # One voxel of each grey value from 1 to 200.
    section = np.arange(1, 201, dtype=np.uint8).reshape(1, 10, 20)
    chunk = Chunk(np.concatenate([section, np.zeros_like(section)], axis=1))
    operator = NormalizeContrast(
        lower_clip_fraction=0.1, upper_clip_fraction=0.05, minval=10, maxval=240
    )
    result = run_step(operator, chunk=chunk).chunk("chunk").array
    assert (result[0, :10] == 10).sum() == 21  # 20 of 200 are clipped, and grey value 21 maps to 10
    assert (result[0, :10] == 240).sum() == 11
    assert not result[0, 10:].any()
    middle = section[0].ravel()[20:190].astype(float)
    np.testing.assert_allclose(
        result[0, :10].ravel()[20:190], 10 + (middle - 21) * 230 / 169, atol=0.5
    )


def test_per_section_stretches_each_section_and_whole_the_whole_chunk(run_step) -> None:
    """chunkflow 1.2.0 ignored --whole, and stretched the whole chunk even with --per-section."""
    dark, bright = np.array([[10, 20, 30]], np.uint8), np.array([[100, 150, 210]], np.uint8)
    chunk = Chunk(np.stack([dark, bright]))
    options = {"lower_clip_fraction": 0, "upper_clip_fraction": 0}
    each = run_step(NormalizeContrast(**options), chunk=chunk).chunk("chunk").array
    assert each.tolist() == [[[1, 128, 255]], [[1, 116, 255]]]  # 1 + 254 * 50 / 110 = 116.45
    whole = (
        run_step(NormalizeContrast(**options, per_section=False), chunk=chunk).chunk("chunk").array
    )
    assert whole.tolist() == [[[1, 14, 26]], [[115, 179, 255]]]


@pytest.mark.parametrize("array", [np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 7, np.uint8)])
@pytest.mark.parametrize("per_section", [True, False])
def test_a_chunk_without_contrast_does_not_change(run_step, array, per_section: bool) -> None:
    made = run_step(
        NormalizeContrast(per_section=per_section, output_chunk_name="even"), chunk=Chunk(array)
    ).chunk("even")
    assert np.array_equal(made.array, array)


@pytest.mark.parametrize("dtype", ["int16", "float32", "int8", "bool"])
def test_other_dtypes_are_refused(run_step, dtype: str) -> None:
    with pytest.raises(ChunkMismatch, match=f"uint8 or uint16, and 'chunk' is {dtype}"):
        run_step(NormalizeContrast(), chunk=Chunk(np.zeros((1, 2, 2), dtype)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minval": 200, "maxval": 100}, "minval 200 must be below maxval 100"),
        ({"lower_clip_fraction": 0.6, "upper_clip_fraction": 0.5}, "leave nothing"),
        ({"maxval": 256}, "maxval"),
        ({"lower_clip_fraction": -0.1}, "lower_clip_fraction"),
        ({"upper_clip_fraction": float("nan")}, "upper_clip_fraction"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormalizeContrast(**options)
