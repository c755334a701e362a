"""Values as another type: those of an image saturate, and are counted; ids stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.errors import ChunkMismatch

Scale = tuple[float, float]

_AT_ONCE = 2**17  # values that stay in the processor's cache between the steps of a conversion
_INTEGERS = tuple(np.dtype(f"{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8))


@dataclass
class Tally:
    """What conversions lost.

    low, high: range of the values that were looked at, NaN left out.
    values: number that were looked at: none if the type holds all that there can be.
    clipped: number that became another one, since they were out of range, or NaN.
    nan: number of these that were NaN.
    """

    low: float = inf
    high: float = -inf
    values: int = 0
    clipped: int = 0
    nan: int = 0

    def add(self, values: NDArray[Any], low: float, high: float, keeps_nan: bool) -> None:
        """Look at values; those from `low` to `high` are kept."""
        self.values += values.size
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        smallest, largest = values.min(), values.max()  # NaN if there is one
        if not (low <= smallest and largest <= high):
            outside = (values < low) | (values > high)
            self.clipped += int(np.count_nonzero(outside))
            if np.isnan(smallest):
                nan = int(np.count_nonzero(np.isnan(values)))
                self.clipped, self.nan = self.clipped + nan * (not keeps_nan), self.nan + nan
                smallest, largest = np.fmin.reduce(values), np.fmax.reduce(values)
        self.low, self.high = min(smallest.item(), self.low), max(largest.item(), self.high)


def convert(
    array: NDArray[Any],
    dtype: DTypeLike,
    scale: Scale | None = None,
    tally: Tally | None = None,
) -> NDArray[Any]:
    """The values of an image as `dtype`, of the same shape; those out of range saturate.

    Floats to uint8 map [0, 1] to [0, 255], as readers of probability maps expect, and uint8 to
    floats maps back. Floats to other integers round to the nearest. NaN becomes 0 in integers.

    scale: two values that are mapped to the ends of the type instead: all that an integer holds, or
        0 and 1 as a float.
    tally: takes what is lost.
    """
    target = np.dtype(dtype)
    if scale is None and array.dtype == target:
        return array
    step, limits = _step(array.dtype, target, scale), kept(array.dtype, target, scale)
    if step is None:
        return array.astype(target)
    made = np.empty_like(array, target)
    blocks = np.nditer(
        [array, made],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["writeonly"]],
        buffersize=_AT_ONCE,
    )
    with blocks, np.errstate(over="ignore", invalid="ignore"):
        for values, out in blocks:
            if tally is not None and limits is not None and values.size:
                tally.add(values, *limits, keeps_nan=target.kind == "f")
            out[...] = step(values)
    return made


def convert_ids(ids: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Object ids as `dtype`, which holds each of them exactly.

    Raises ChunkMismatch if it does not, or if `ids` are floats that are not whole numbers.
    """
    target = np.dtype(dtype)
    if ids.dtype == target or not ids.size:
        return ids.astype(target, copy=False)
    (low, high), (first, last) = _whole_numbers(target), _whole_numbers(ids.dtype)
    if ids.dtype.kind == "f":
        _check_whole(ids)
    elif low <= first and last <= high:
        return ids.astype(target)
    smallest, largest = int(ids.min()), int(ids.max())
    if low <= smallest and largest <= high:
        return ids.astype(target)
    which, culprit = ("largest", largest) if largest > high else ("smallest", smallest)
    held = f"{low} to {high}" if target.kind != "f" else f"whole numbers up to {high} exactly"
    fitting = (t for t in _INTEGERS if np.iinfo(t).min <= smallest and largest <= np.iinfo(t).max)
    cure = f"; {fit} holds it" if (fit := next(fitting, None)) else ""
    raise ChunkMismatch(
        f"the {which} id of the segmentation is {culprit}, and {target} holds {held}{cure}"
    )


def saturate(real: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Floats rounded to the nearest integer of `dtype`; NaN becomes 0. Changes `real`."""
    limits = np.iinfo(dtype)
    np.rint(real, out=real)
    if limits.min == 0:
        np.fmax(real, 0, out=real)  # which also turns NaN into 0
    else:
        real[np.isnan(real)] = 0
        np.maximum(real, limits.min, out=real)
    if int(real.dtype.type(limits.max)) == limits.max:
        np.minimum(real, limits.max, out=real)
        return real.astype(dtype)
    # The float type cannot hold the largest integer: cast the values that fit, then set the rest.
    above = real >= float(limits.max)
    real[above] = 0
    result: NDArray[Any] = real.astype(dtype)
    result[above] = limits.max
    return result


def above(array: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Where the values are above the threshold; integers are not rounded to be compared."""
    exact = floor(threshold) if array.dtype.kind in "ui" and isfinite(threshold) else threshold
    result: NDArray[np.bool_] = array > exact
    return result


def count_nan(array: NDArray[Any]) -> int:
    """Number of values that are NaN."""
    return int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0


def kept(
    source: np.dtype[Any], target: np.dtype[Any], scale: Scale | None = None
) -> tuple[float, float] | None:
    """The values from the first to the second are not clipped; None if none is ever clipped."""
    if scale is not None:
        return scale
    if target.kind in "ui" and source.kind == "f":
        # A tiny overshoot of a probability rounds to a value that the type holds.
        low, high = float(np.iinfo(target).min) - 0.5, float(np.iinfo(target).max) + 0.5
        return (low / 255, high / 255) if target == np.uint8 else (low, high)
    if target.kind in "ui" and source.kind in "ui":
        low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
        return None if np.can_cast(source, target) else (low, high)
    if target == np.float16 and source not in (np.uint8, np.int8, np.bool_):
        return -float(np.finfo(target).max), float(np.finfo(target).max)
    return None


def takes(source: np.dtype[Any], target: np.dtype[Any]) -> tuple[float, float]:
    """The range of values of type `source` that `target` holds, as a user thinks of it."""
    if target == np.uint8 and source.kind == "f":
        return 0, 1
    limits = np.iinfo(target) if target.kind in "ui" else np.finfo(target)
    return limits.min, limits.max


def _step(
    source: np.dtype[Any], target: np.dtype[Any], scale: Scale | None
) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """What makes new values of old ones; None if a cast does."""
    if scale is not None:
        return _scaling(target, *scale)
    if target.kind in "ui" and source.kind == "f":
        # Large integers are infinite in float16.
        kind = np.dtype(np.float32) if source == np.float16 else source
        factor = 255 if target == np.uint8 else 1
        return lambda values: saturate(np.multiply(values, factor, dtype=kind), target)
    if target.kind in "ui" and source.kind in "ui":
        if kept(source, target) is None:
            return None
        low = max(np.iinfo(source).min, np.iinfo(target).min)
        high = min(np.iinfo(source).max, np.iinfo(target).max)
        return lambda values: np.clip(values, low, high)
    if target.kind == "f" and source == np.uint8:
        return lambda values: values.astype(target) / target.type(255)
    if target == np.float16:
        largest = np.finfo(target).max.astype(source if source.kind == "f" else np.float64)
        return lambda values: np.clip(values, -largest, largest)
    return None


def _scaling(
    target: np.dtype[Any], low: float, high: float
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if target.kind == "f":
        return lambda values: np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    first = int(np.iinfo(target).min)
    factor = (int(np.iinfo(target).max) - first) / (high - low)

    def step(values: NDArray[Any]) -> NDArray[Any]:
        real = values.astype(np.float64)
        real -= low
        real *= factor
        real += first
        return saturate(real, target)

    return step


def _whole_numbers(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The range in which the type holds every whole number."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "ui":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    largest = 2 ** (np.finfo(dtype).nmant + 1)
    return -largest, largest


def _check_whole(ids: NDArray[Any]) -> None:
    other = ids[(ids != np.rint(ids)) | np.isinf(ids)]  # NaN differs from itself
    if other.size:
        raise ChunkMismatch(f"a segmentation holds whole numbers, and this one holds {other[0]}")
