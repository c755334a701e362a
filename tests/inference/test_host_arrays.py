"""`HostArrays`: sections shared among processors, and scratch memory. See also test_arrays.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from chunkflow_worker.inference import host_arrays
from chunkflow_worker.inference.host_arrays import HostArrays, unit_range


def test_arrays_of_the_host_are_not_copied() -> None:
    array = np.arange(4)
    assert HostArrays().put(array) is array


def test_float32_is_not_copied_to_be_scaled() -> None:
    array = np.ones((1, 2, 2, 2), np.float32)
    assert unit_range(array) is array
    assert unit_range(array.astype(np.float64)).dtype == np.float32


def test_large_integers_are_scaled_without_overflow() -> None:
    values = np.array([np.iinfo(np.uint64).max, 0], np.uint64)
    assert unit_range(values).tolist() == [1, 0]


@pytest.mark.parametrize("processors", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("sections", [1, 2, 5, 16])
def test_any_number_of_processors_gives_the_same_values(
    monkeypatch: pytest.MonkeyPatch, processors: int, sections: int
) -> None:
    """Each section is blended once, whatever the number of processors."""
    rng = np.random.default_rng(0)
    shape = (2, sections, 3, 4)
    values, weights = rng.random(shape, np.float32), rng.random(shape[1:], np.float32) + 1
    monkeypatch.setattr(host_arrays, "cpu_count", lambda: processors)
    arrays = HostArrays()
    mean, total = arrays.zeros(shape), arrays.zeros(shape[1:])
    arrays.blend(mean, total, values, weights)
    assert np.array_equal(total, weights)
    assert np.array_equal(mean, values)
    out = np.zeros(shape, np.uint8)
    arrays.send(mean, out)()
    assert np.array_equal(out, np.rint(values * np.float32(255)).astype(np.uint8))


def test_an_error_in_a_section_is_raised() -> None:
    mean, values = np.zeros((1, 4, 2, 2), np.float32), np.zeros((1, 4, 3, 3), np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        HostArrays().place(values, mean)


def test_scratch_memory_is_kept_for_the_next_call_and_is_not_shared_by_threads() -> None:
    first, smaller = host_arrays._scratch((4, 5)), host_arrays._scratch((2, 3))
    assert np.shares_memory(first, smaller)
    assert smaller.shape == (2, 2, 3)
    both = Barrier(2)

    def scratch(_: int) -> np.ndarray:
        both.wait()  # so that each call has its own thread
        return host_arrays._scratch((4, 5))

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(scratch, range(2))
    assert not np.shares_memory(one, other)
