from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch, DataMissing, PermanentError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.mask import Mask
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.mask import CoarseMask
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

RunStep = Callable[..., Task]
MakeVolume = Callable[..., PrecomputedVolume]
MASK = (np.random.default_rng(2).random((8, 16, 16)) > 0.5).astype(np.uint8)


def mask_at(chunk: Chunk, volume: Any) -> np.ndarray:
    return CoarseMask.read(volume, chunk.bbox, chunk.voxel_size).at(chunk.bbox)


def expected_mask(
    box: BoundingBox, ratio: tuple[float, float, float], offset: tuple[int, int, int]
) -> np.ndarray:
    """Mask values at the voxel centres, computed voxel by voxel; zero outside the mask."""
    result = np.zeros(box.size, bool)
    for index in np.ndindex(*box.size):
        place = [
            int((s + i + 0.5) // r) - o
            for s, i, r, o in zip(box.start, index, ratio, offset, strict=True)
        ]
        if all(0 <= p < n for p, n in zip(place, MASK.shape, strict=True)):
            result[index] = MASK[tuple(place)]
    return result


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(-6, 30),
    st.integers(-6, 60),
    st.integers(-6, 60),
    st.sampled_from([1.0, 2.0, 3.0, 2.5]),
)
def test_each_voxel_gets_the_mask_value_at_its_centre(
    volume: MakeVolume, z: int, y: int, x: int, ratio: float
) -> None:
    """Named defect of the peer: chunks not aligned with the mask's voxels were shifted."""
    offset = (1, -2, 3)
    made = volume(f"mask-{ratio}", MASK, offset, voxel_size=(40, 8 * ratio, 8 * ratio))
    chunk = Chunk(np.ones((5, 11, 13), np.uint8), Vec3(z, y, x), (40, 8, 8))
    expected = expected_mask(chunk.bbox, (1, ratio, ratio), offset)
    assert np.array_equal(mask_at(chunk, made), expected)


def test_masking_keeps_dtype_offset_and_channels(volume: MakeVolume, run_step: RunStep) -> None:
    path = volume("mask", MASK, voxel_size=(40, 32, 32)).path
    array = np.random.default_rng(0).random((3, 5, 20, 20), np.float32) + 1
    chunk = Chunk(array, Vec3(1, 2, 3), (40, 8, 8))
    keep = expected_mask(chunk.bbox, (1, 4, 4), (0, 0, 0))
    result = run_step(Mask(volume_path=path, mip=0), chunk=chunk).chunk("chunk")
    assert np.array_equal(result.array, array * keep)
    assert (result.bbox, result.dtype) == (chunk.bbox, np.float32)
    assert (array > 0).all(), "the input chunk does not change"
    inverse = run_step(Mask(volume_path=path, mip=0, inverse=True), chunk=chunk).chunk("chunk")
    assert np.array_equal(inverse.array, array * ~keep)


def test_several_chunks_can_be_masked_and_get_new_names(
    volume: MakeVolume, run_step: RunStep
) -> None:
    path = volume("mask", np.zeros((8, 16, 16), np.uint8)).path
    ones = Chunk(np.ones((2, 2, 2), np.uint8), voxel_size=(40, 8, 8))
    operator = Mask(volume_path=path, mip=0, input_names="a, b", output_names="c,d")
    assert operator.reads() == ("a", "b")
    assert operator.writes() == ("c", "d")
    task = run_step(operator, a=ones, b=ones)
    assert task.chunk("a").array.all()
    assert not task.chunk("c").array.any()
    assert not task.chunk("d").array.any()
    with pytest.raises(PermanentError, match="2 input_names and 1 output_names"):
        run_step(Mask(volume_path=path, mip=0, input_names="a,b", output_names="c"), a=ones, b=ones)


def test_finer_masks_and_missing_blocks_are_errors(volume: MakeVolume, run_step: RunStep) -> None:
    ones = Chunk(np.ones((2, 2, 2), np.uint8), voxel_size=(40, 8, 8))
    fine = volume("fine", MASK, voxel_size=(40, 4, 4)).path
    with pytest.raises(ChunkMismatch, match="finer than the chunk's"):
        run_step(Mask(volume_path=fine, mip=0), chunk=ones)
    empty = volume("empty", BoundingBox.parse("0-8_0-16_0-16"), dtype="uint8").path
    with pytest.raises(DataMissing):
        run_step(Mask(volume_path=empty, mip=0), chunk=ones)
    filled = run_step(Mask(volume_path=empty, mip=0, fill_missing=True), chunk=ones)
    assert not filled.chunk("chunk").array.any()
