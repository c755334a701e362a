"""normalize-intensity"""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.normalize_intensity import NormalizeIntensity


def test_grey_values_are_mapped_linearly_to_minus_one_to_one(run_step) -> None:
    chunk = Chunk(np.arange(256, dtype=np.uint8).reshape(4, 8, 8), Vec3(1, 2, 3), (40.0, 4.0, 4.0))
    result = run_step(NormalizeIntensity(), chunk=chunk).chunk("chunk")
    assert result.dtype == np.float32
    exact = np.array([grey / 127.5 - 1 for grey in range(256)])
    np.testing.assert_allclose(result.array.ravel(), exact, rtol=0, atol=1e-7)
    assert (result.array.min(), result.array.max()) == (-1, 1)
    assert (result.voxel_offset, result.voxel_size) == (chunk.voxel_offset, chunk.voxel_size)
    assert chunk.array.ravel().tolist() == list(range(256))


@pytest.mark.parametrize("dtype", ["float32", "uint16", "int8", "bool"])
def test_other_dtypes_are_refused(run_step, dtype: str) -> None:
    with pytest.raises(ChunkMismatch, match=f"uint8, and 'chunk' is {dtype}"):
        run_step(NormalizeIntensity(), chunk=Chunk(np.zeros((1, 1, 1), dtype)))
