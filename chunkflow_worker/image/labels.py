"""`looks_labelled`: whether integers are ids of objects or greys, by how they lie side by side."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Inside an object, neighbours have one id; in an image, noise makes most of them differ. Half of
# the ids must be so: a probability map has large areas of 0 and 255, but many values between them.
_SAME = 0.6
# In a smooth image, neighbours that differ do so by 1; the ids of neighbouring objects by anything,
# unless there are only a few. A smooth image has more values.
_STEPS_OF_ONE = 0.7
_FEW = 4
_LOOKED_AT = 2**22  # values; of a larger array, some of the rows


def looks_labelled(array: NDArray[Any]) -> bool:
    """Whether integers of at most 16 bits, zyx or czyx, are ids of objects and no greys.

    Objects that are only one voxel wide along the last axis are taken for greys.
    """
    step = max(1, ceil(sqrt(array.size / _LOOKED_AT)))
    rows = array[..., ::step, ::step, :]
    left, right = rows[..., :-1], rows[..., 1:]
    same = left == right
    bits = np.dtype(f"u{array.dtype.itemsize}")
    pairs = np.bincount(left.astype(bits).ravel())[1:]
    equal = np.bincount(left[same].astype(bits), minlength=len(pairs) + 1)[1:]
    found = pairs > 0
    if not found.any() or np.median(equal[found] / pairs[found]) < _SAME:
        return False
    steps = np.abs(left[~same].astype(np.int32) - right[~same])
    few = bool(np.count_nonzero(found) <= _FEW)
    return few or bool(np.mean(steps == 1) <= _STEPS_OF_ONE)
