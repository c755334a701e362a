from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.copy_var import CopyVar


def test_a_deep_copy_has_its_own_voxels_and_a_shallow_copy_shares_them(run_step) -> None:
    chunk = Chunk(np.zeros((1, 1, 2)))
    deep = run_step(CopyVar(to_name="b"), chunk=chunk).chunk("b").array
    shallow = run_step(CopyVar(to_name="b", deep_copy=False), chunk=chunk).chunk("b").array
    chunk.array[0, 0, 1] = 7
    assert deep.tolist() == [[[0, 0]]]
    assert shallow.tolist() == [[[0, 7]]]


def test_a_missing_value_is_an_error(run_step) -> None:
    with pytest.raises(ChunkflowError, match="no value named 'a'; made so far: chunk"):
        run_step(CopyVar(from_name="a"), chunk=Chunk(np.zeros((1, 1, 2))))
