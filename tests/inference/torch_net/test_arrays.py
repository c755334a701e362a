"""`TorchArrays`: arrays that torch does not accept directly, and errors about memory.

See also tests/inference/test_arrays.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.inference.torch_net.arrays import TorchArrays, memory_guard

CPU = TorchArrays("cpu")


def test_arrays_of_the_host_are_not_copied_for_the_cpu() -> None:
    array = np.ones((1, 2, 3, 4), np.float32)
    assert np.shares_memory(CPU.put(array).numpy(), array)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)[:, ::-1],
        np.arange(24, dtype=">u2").reshape(1, 2, 3, 4),
        np.arange(24, dtype=">f4").reshape(1, 2, 3, 4)[..., ::-2],
        read_only(np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)),
        np.empty((1, 0, 3, 4), np.uint8),
    ],
    ids=["backwards", "big endian", "both", "read-only", "empty"],
)
def test_any_array_can_be_put(array: np.ndarray) -> None:
    tensor = CPU.put(array)
    assert np.array_equal(tensor.numpy(), array)
    tensor[:] = 0  # must not change a read-only array
    if not array.flags.writeable:
        assert array.any()


def test_results_are_shared_only_if_no_conversion_is_needed() -> None:
    result = np.zeros((1, 2, 3, 4), np.float32)
    shared = CPU.share(result)
    assert shared is not None
    shared += 1
    assert (result == 1).all()
    for dtype in ("uint8", "float16", "float64"):
        assert CPU.share(result.astype(dtype)) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
    ],
)
def test_errors_about_memory_become_out_of_memory(error: RuntimeError) -> None:
    with pytest.raises(OutOfMemory) as raised, memory_guard(torch):
        raise error
    assert str(raised.value) == str(error).splitlines()[0]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("layer")])
def test_other_errors_are_not_changed(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory_guard(torch):
        raise error
    assert raised.value is error


def test_too_large_an_array_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="can't allocate memory"):
        CPU.zeros((1, 1 << 20, 1 << 20, 1 << 10))
