"""create-chunk"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.create_chunk import CreateChunk
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task

DTYPES = ["uint8", "uint32", "uint16", "uint64", "float32", "float64"]
POSITIONS = st.tuples(*[st.integers(-(10**7), 10**7)] * 3)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    start=POSITIONS,
    shift=st.tuples(*[st.integers(0, 5)] * 3),
    dtype=st.sampled_from(DTYPES),
    pattern=st.sampled_from(["sin", "random"]),
)
def test_boxes_agree_where_they_overlap(run_step, start, shift, dtype: str, pattern: str) -> None:
    create = CreateChunk(dtype=dtype, pattern=pattern)
    box = BoundingBox.sized(start, (6, 7, 8))
    one = run_step(create, bbox=box).chunk("chunk")
    other = run_step(create, bbox=box.shift(shift)).chunk("chunk")
    common = box.clip(box.shift(shift))
    assert common is not None
    assert np.array_equal(one.cutout(common).array, other.cutout(common).array)
    assert one.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_sin_is_a_sum_of_waves_over_the_global_position(run_step, dtype: str) -> None:
    start = Vec3(-40, 1000, 7)
    chunk = run_step(CreateChunk(size=(33, 49, 65), voxel_offset=start, dtype=dtype)).chunk("chunk")
    z, y, x = (p + s for p, s in zip(np.indices(chunk.array.shape), start, strict=True))
    waves = (
        np.sin(2 * math.pi * z / 32),
        np.sin(2 * math.pi * y / 48),
        np.sin(2 * math.pi * x / 64),
    )
    expected = (sum(waves) + 3) / 6
    if dtype.startswith("float"):
        np.testing.assert_allclose(chunk.array, expected, rtol=0, atol=1e-6)
        assert 0 <= chunk.array.min() < 0.01 < 0.99 < chunk.array.max() <= 1
    else:
        assert np.abs(chunk.array.astype(float) - expected * 255).max() <= 0.5 + 1e-6
        assert (chunk.array.min(), chunk.array.max()) == (0, 255)
    for axis in range(3):
        steps = np.diff(chunk.array.astype(float), axis=axis)
        assert 0 < np.abs(steps).max() < 0.04 * chunk.array.max(), (
            "the pattern is smooth along every axis, and not constant"
        )


def test_sin_repeats_exactly_at_any_distance(run_step) -> None:
    far = Vec3(10**12 * 32, -(10**12) * 48, 10**12 * 64)

    def voxels(offset: tuple[int, int, int]) -> np.ndarray:
        create = CreateChunk(dtype="float64", voxel_offset=offset, size=(9, 9, 9))
        return run_step(create).chunk("chunk").array

    assert np.array_equal(voxels((0, 0, 0)), voxels(far))


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_is_uniform_over_the_range_of_the_dtype(run_step, dtype: str) -> None:
    array = run_step(CreateChunk(pattern="random", dtype=dtype)).chunk("chunk").array
    whole = 1.0 if dtype.startswith("float") else 2.0 ** (8 * array.itemsize)
    if dtype.startswith("float"):
        assert array.min() >= 0
        assert array.max() < 1
    counts, _ = np.histogram(array.astype(float) / whole, bins=16, range=(0, 1))
    # 64^3 / 16 voxels per bin, with a standard deviation of 124.
    assert np.abs(counts - 64**3 / 16).max() < 5 * 124
    for axis in range(3):
        pairs = np.moveaxis(array.astype(float), axis, 0)
        assert abs(np.corrcoef(pairs[1:].ravel(), pairs[:-1].ravel())[0, 1]) < 0.01


def test_swapped_axes_change_the_pattern(run_step) -> None:
    for pattern in ("sin", "random"):
        array = run_step(CreateChunk(pattern=pattern)).chunk("chunk").array
        for axes in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):
            assert not np.array_equal(array, array.transpose(axes))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero(run_step, dtype: str) -> None:
    chunk = run_step(
        CreateChunk(pattern="zero", dtype=dtype, size=(1, 2, 3), voxel_size=(40, 7.16, 7.16))
    ).chunk("chunk")
    assert (chunk.array.shape, chunk.dtype, chunk.array.any()) == (
        (1, 2, 3),
        np.dtype(dtype),
        False,
    )
    assert chunk.voxel_size == (40.0, 7.16, 7.16)


def test_fills_the_box_of_the_task_unless_size_or_offset_is_given(run_step) -> None:
    box = BoundingBox.parse("-5-5_0-3_7-9")
    assert run_step(CreateChunk(), bbox=box).chunk("chunk").bbox == box
    sized = run_step(CreateChunk(size=(1, 2, 3)), bbox=box).chunk("chunk")
    assert str(sized.bbox) == "0-1_0-2_0-3"
    moved = run_step(CreateChunk(voxel_offset=(1, 2, 3)), bbox=box).chunk("chunk")
    assert str(moved.bbox) == "1-65_2-66_3-67"
    assert str(run_step(CreateChunk(output_chunk_name="a")).chunk("a").bbox) == "0-64_0-64_0-64"


def test_creates_the_context_that_later_operators_need(run_step) -> None:
    """crop-margin cuts the margin off, so the chunk must be larger than the box."""
    crop = {"op": "crop-margin", "margin_size": [1, 2, 3, 4, 5, 6]}
    box = BoundingBox.parse("0-8_0-8_0-8")
    with Pipeline.parse({"operators": [{"op": "create-chunk"}, crop]}).open() as opened:
        opened.run(task := Task(box))
    assert task.chunk("chunk").bbox == box
    expected = run_step(CreateChunk(), bbox=box).chunk("chunk").array
    assert np.array_equal(task.chunk("chunk").array, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"size": [0, 1, 1]},
        {"voxel_size": [1, 1, 0]},
        {"dtype": "int8"},
        {"pattern": "cos"},
        {"size": [1.5, 1, 1]},
    ],
)
def test_wrong_options_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CreateChunk(**options)
