from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.quantize import Quantize


def test_values(run_step) -> None:
    affinity = np.random.default_rng(0).random((3, 2, 3, 4)).astype(np.float32)
    xy = run_step(Quantize(), chunk=Chunk(affinity)).chunk("chunk").array
    z = run_step(Quantize(mode="z", output_chunk_name="z"), chunk=Chunk(affinity)).chunk("z").array
    for p in np.ndindex(xy.shape):
        assert abs(int(xy[p]) - 255 * (float(affinity[0][p]) + float(affinity[1][p])) / 2) < 0.501
        assert abs(int(z[p]) - 255 * float(affinity[2][p])) < 0.501
    assert xy.dtype == z.dtype == np.uint8


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 3, 4)])
def test_a_probability_map(run_step, shape) -> None:
    probability = np.random.default_rng(1).random(shape).astype(np.float32)
    made = run_step(Quantize(), chunk=Chunk(probability)).chunk("chunk").array
    assert (made.shape, made.dtype) == ((2, 3, 4), np.uint8)
    assert np.abs(made - 255 * probability.reshape(2, 3, 4).astype(float)).max() < 0.501


@pytest.mark.parametrize(
    "array", [np.ones((2, 2, 2, 2), np.float32), np.ones((3, 2, 2, 2), np.uint8)]
)
def test_chunks_that_are_not_maps_are_refused(run_step, array) -> None:
    with pytest.raises(ChunkflowError, match="a map is needed"):
        run_step(Quantize(), chunk=Chunk(array))
