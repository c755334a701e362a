"""threshold"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.threshold import Threshold

SHAPES = arrays.array_shapes(min_dims=3, max_dims=4, max_side=4)
MAPS = st.one_of(
    arrays.arrays(np.float32, SHAPES),
    arrays.arrays(np.uint8, SHAPES),
    arrays.arrays(np.int16, SHAPES),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(array=MAPS, threshold=st.floats(-300, 300, width=32))
def test_exactly_the_voxels_above_the_threshold_become_one(
    run_step, array, threshold: float
) -> None:
    chunk = Chunk(
        array.copy(),
        Vec3(-3, 5, 7),
        (40.0, 4.0, 4.0),
        "image",
        BoundingBox.parse("-9-90_0-90_0-90"),
    )
    mask = run_step(Threshold(threshold=threshold), chunk=chunk).chunk("chunk")
    assert mask.array.ravel().tolist() == [
        1 if v > threshold else 0 for v in array.ravel().tolist()
    ]
    assert mask.dtype == np.uint8
    assert mask.array.shape == array.shape
    assert mask.voxel_offset == chunk.voxel_offset
    assert mask.bounds == chunk.bounds
    assert np.array_equal(chunk.array, array, equal_nan=array.dtype.kind == "f")


def test_a_voxel_equal_to_the_threshold_is_zero_and_names_are_used(run_step) -> None:
    task = run_step(
        Threshold(input_chunk_name="map", output_chunk_name="mask"),
        map=Chunk(np.array([[[0.5, 0.51]]], np.float32)),
    )
    assert task.chunk("mask").array.tolist() == [[[0, 1]]]
    assert task.chunk("map").dtype == np.float32


@pytest.mark.parametrize("value", ["high", None])
def test_a_threshold_that_is_not_a_number_is_refused(value) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Threshold(threshold=value)
