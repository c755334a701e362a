"""`HostEngine` and `in_batches`."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.host_engine import HostEngine, in_batches
from chunkflow_worker.machine.cpu import cpu_name


def test_it_runs_one_patch_at_a_time_in_float32_on_the_cpu() -> None:
    engine = HostEngine(3)
    assert (engine.device, engine.precision, engine.channels) == (cpu_name(), "float32", 3)
    assert HostEngine.device_name() == cpu_name()
    assert isinstance(engine.arrays, HostArrays)
    assert engine.batch_size((1, 4, 8, 8)) == 1
    assert engine.overflowed() is False


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_batch_has_the_size_and_each_patch_its_output(count: int, size: int) -> None:
    patches = np.random.default_rng(0).random((count, 1, 2, 3, 4), np.float32)
    batches: list[np.ndarray] = []

    def run(batch: np.ndarray) -> np.ndarray:
        batches.append(batch)
        return 2 * batch

    outputs = in_batches(patches, size, run)
    assert [len(batch) for batch in batches] == [size] * -(-count // size)
    assert np.array_equal(np.stack(outputs), 2 * patches)
    assert not np.concatenate(batches)[count:].any(), "the last batch is filled up with zeros"


def test_added_patches_have_the_type_of_the_others() -> None:
    types = []
    in_batches(np.ones((1, 1, 1, 1, 1), np.float16), 2, lambda b: types.append(b.dtype) or b)
    assert types == [np.float16]
