"""`measure`: sizes and places of all labels of a box, exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.labels.layout import Layout, Whole
from chunkflow_worker.labels.objects import Objects


def measure(local: NDArray[Any], start: Vec3, count: int, layout: Layout) -> tuple[Whole, Objects]:
    """The first voxel of each label by its index, and the sizes and places of all labels.

    local: zyx, numbers from 0 to `count`. Exact, and with little memory besides: slice by slice.
    """
    voxels, first = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    sums = np.zeros((count + 1, 3), np.int64)
    starts = np.full((count + 1, 3), np.iinfo(np.int64).max)
    stops = np.full((count + 1, 3), np.iinfo(np.int64).min)
    _, height, width = local.shape
    y, x = (axis.ravel() for axis in np.indices((height, width)))
    weights = y.astype(float), x.astype(float)
    by_column = x.reshape(height, width).T.ravel()
    offset = np.array(start - layout.region.start)
    for z in range(len(local) - 1, -1, -1):  # downwards, so that the first voxel stays
        labels = local[z].astype(np.intp).ravel()
        number = np.bincount(labels, minlength=count + 1)
        here = np.flatnonzero(number)
        voxels[here] += number[here]
        sums[here, 0] += number[here] * (z + offset[0])
        starts[here, 0], stops[here, 0] = z, np.maximum(stops[here, 0], z + 1)
        for axis, weight in enumerate(weights, 1):
            total = np.bincount(labels, weight, minlength=count + 1)[here]  # below 2^53, so exact
            sums[here, axis] += total.astype(np.int64) + number[here] * offset[axis]
        first[labels[::-1]] = z * height * width + np.arange(len(labels))[::-1]
        _extend(starts, stops, labels, y, 1, here)
        _extend(starts, stops, labels.reshape(height, width).T.ravel(), by_column, 2, here)
    place = np.array(start)
    rows = slice(1, None)
    measured = Objects(
        np.zeros(count, np.uint64), voxels[rows], sums[rows], starts[rows] + place,
        stops[rows] + place, np.zeros(count, np.uint64), np.zeros(count, bool),
    )  # fmt: skip
    return first[rows], measured


def _extend(
    starts: Whole, stops: Whole, labels: NDArray[Any], place: Whole, axis: int, here: Whole
) -> None:
    """Extend bounding boxes along an axis by a slice whose voxels are in the order of `place`."""
    at = np.empty(len(starts), np.int64)
    at[labels[::-1]] = place[::-1]
    starts[here, axis] = np.minimum(starts[here, axis], at[here])
    at[labels] = place + 1
    stops[here, axis] = np.maximum(stops[here, axis], at[here])
