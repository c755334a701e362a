"""`touching`: pairs of ids on both sides of a face, an edge or a corner whose voxels touch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.labels.faces import Faces, Slab
from chunkflow_worker.labels.layout import Whole

_ALONG = {6: 1, 18: 2, 26: 3}
"""Along how many axes the places of neighbours may differ."""


def directions(connectivity: int) -> Iterator[Vec3]:
    """From a voxel to those of its neighbours that come before it, in z, y, x order."""
    for step in product((-1, 0, 1), repeat=3):
        if step < (0, 0, 0) and sum(map(abs, step)) <= _ALONG[connectivity]:
            yield Vec3(*step)


def touching(mine: Faces, other: Faces, direction: Vec3, connectivity: int) -> Whole:
    """Rows of two boxes whose voxels touch: shape (n, 2), rows of `mine` and of `other`.

    direction: from the first box to the other one: -1, 0 or 1 along each axis.
    """
    axis = next(axis for axis in range(3) if direction[axis])
    here, there = mine.slabs.get((axis, direction[axis])), other.slabs.get((axis, -direction[axis]))
    if here is None or there is None:
        return np.zeros((0, 2), np.int64)
    # A step stays in the box along the axes on which the other one lies beside it. Along these, the
    # layer at one face is enough: those that take a step across an edge have voxels in it.
    steps = product(*((d,) if d else (-1, 0, 1) for d in direction))
    codes = [
        _codes(here, there, Vec3(*step), len(other.ids) + 1)
        for step in steps
        if sum(map(abs, step)) <= _ALONG[connectivity]
    ]
    found = np.unique(np.concatenate([*codes, np.zeros(0, np.int64)]))
    return np.stack(np.divmod(found, len(other.ids) + 1), axis=1) - 1


def _codes(here: Slab, there: Slab, step: Vec3, count: int) -> Whole:
    """The labels of voxels in `here` and of those one step away in `there`, in one number each."""
    common = here.box.shift(step).clip(there.box)
    if common is None:
        return np.zeros(0, np.int64)
    own = here.labels[common.shift(-step).slices(here.start)]
    its = there.labels[common.slices(there.start)]
    both = (own > 0) & (its > 0)
    return np.unique(own[both].astype(np.int64) * count + its[both])
