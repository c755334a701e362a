"""`HostArrays`: patches blended in the host's memory, with numpy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.conversion import Tally, convert, takes
from chunkflow_worker.inference.reduction import Reduction
from chunkflow_worker.machine.cpu import cpu_count

_local = threading.local()


class HostArrays:
    """`Arrays` in the host's memory.

    Works section by section, since a section of a patch fits the processor's cache, and on all
    processors: numpy releases Python's global lock on arrays of this size.
    """

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    def unit_range(self, array: NDArray[Any]) -> NDArray[np.float32]:
        return unit_range(array)

    def channels(self, array: NDArray[Any], which: list[int]) -> NDArray[Any]:
        if len(array) > 1:
            return array[which]
        return np.broadcast_to(array, (len(which), *array.shape[1:]))

    def share(self, result: NDArray[Any]) -> NDArray[Any] | None:
        return result if result.dtype == np.float32 else None

    def place(self, values: NDArray[Any], mean: NDArray[Any]) -> None:
        def sections(first: int, last: int) -> None:
            for z in range(first, last):
                mean[:, z] = values[:, z]

        _on_all_processors(sections, values.shape[1])

    def blend(
        self,
        mean: NDArray[Any],
        total: NDArray[Any],
        values: NDArray[Any] | None,
        weights: NDArray[np.float32],
    ) -> None:
        def sections(first: int, last: int) -> None:
            share, change = _scratch(weights.shape[1:])
            for z in range(first, last):
                np.add(total[z], weights[z], out=total[z])
                np.divide(weights[z], total[z], out=share)
                for c in range(len(mean)):
                    section = mean[c, z]
                    if values is None:
                        np.multiply(section, share, out=change)
                        np.subtract(section, change, out=section)
                    else:
                        np.subtract(values[c, z], section, out=change)
                        np.multiply(change, share, out=change)
                        np.add(section, change, out=section)

        _on_all_processors(sections, len(weights))

    def reduced(self, slab: NDArray[Any], reduction: Reduction) -> NDArray[Any]:
        if reduction.threshold is not None:
            return (slab > reduction.threshold).view(np.uint8)
        if reduction.kind == "argmax":
            return np.asarray(slab.argmax(axis=0, keepdims=True), np.uint8)
        return np.asarray(slab.max(axis=0, keepdims=True))

    def send(self, slab: NDArray[Any], out: NDArray[Any]) -> Callable[[], int]:
        clipped = [0] * slab.shape[1]  # a section belongs to one thread

        def sections(first: int, last: int) -> None:
            for z in range(first, last):
                clipped[z] = sum(_use_up(slab[c, z], out[c, z]) for c in range(len(slab)))

        _on_all_processors(sections, slab.shape[1])
        return lambda: sum(clipped)


def _use_up(values: NDArray[Any], out: NDArray[Any]) -> int:
    """Convert values to `out`, in their own memory; returns how many were clipped.

    What lies within the limits, as nearly all does, needs fewer passes over the memory.
    """
    least, most = takes(values.dtype, out.dtype)
    is_scaled = values.dtype == np.float32 and out.dtype == np.uint8
    if is_scaled and least <= values.min() and values.max() <= most:
        np.multiply(values, 255, out=values)
        np.rint(values, out=values)
        np.copyto(out, values, casting="unsafe")
        return 0
    tally = Tally()
    out[:] = convert(values, out.dtype, tally=tally)
    return tally.clipped


def unit_range(array: NDArray[Any]) -> NDArray[np.float32]:
    """The array as float32. Integers are divided by the largest value of their type."""
    if array.dtype.kind not in "ui":
        return array.astype(np.float32, copy=False)
    largest = np.float32(np.iinfo(array.dtype).max)
    scaled: NDArray[np.float32] = np.divide(array, largest, dtype=np.float32)
    return scaled


def _scratch(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Two arrays of that shape. Each thread uses the same memory for every call."""
    size = 2 * int(np.prod(shape))
    if getattr(_local, "scratch", np.empty(0)).size < size:
        _local.scratch = np.empty(size, np.float32)
    scratch: NDArray[np.float32] = _local.scratch[:size].reshape(2, *shape)
    return scratch


def _on_all_processors(work: Callable[[int, int], None], count: int) -> None:
    """Call `work(first, last)` on parts of `range(count)` in parallel, and wait for all."""
    parts = min(cpu_count(), count)
    edges = [count * i // parts for i in range(parts + 1)]
    for _ in _threads().map(work, edges[:-1], edges[1:]):
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cpu_count(), thread_name_prefix="blend")
