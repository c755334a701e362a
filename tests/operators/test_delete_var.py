from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.delete_var import DeleteVar


def test_deletes_the_named_values(run_step) -> None:
    chunk = Chunk(np.zeros((1, 1, 2)))
    assert set(run_step(DeleteVar(var_names="a, b"), a=chunk, b={}, c=chunk).values) == {"c"}


def test_a_missing_value_is_an_error_and_nothing_is_deleted(run_step) -> None:
    from chunkflow_worker.pipeline.task import Task

    task = Task(values={"a": 1})
    with pytest.raises(ChunkflowError, match="no value named 'b'; made so far: a"):
        run_step(DeleteVar(var_names="a,b"), task)
    assert task.values == {"a": 1}
