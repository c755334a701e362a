"""`overlapping`: pairs of ids that two boxes gave to the same voxels."""

from __future__ import annotations

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.labels.faces import Faces
from chunkflow_worker.labels.layout import ShareOf, Whole


def overlapping(
    mine: Faces, other: Faces, direction: Vec3, min_share: float, share_of: ShareOf
) -> Whole:
    """Rows of two boxes that are one object: shape (n, 2), rows of `mine` and of `other`.

    All voxels count that both boxes read beside their common face.
    direction: from the first box to the other one: -1 or 1 along one axis.
    """
    axis = next(axis for axis in range(3) if direction[axis])
    here, there = mine.slabs.get((axis, direction[axis])), other.slabs.get((axis, -direction[axis]))
    common = here.box.clip(there.box) if here and there else None
    if here is None or there is None or common is None:
        return np.zeros((0, 2), np.int64)
    own = here.labels[common.slices(here.start)].ravel().astype(np.int64)
    its = there.labels[common.slices(there.start)].ravel().astype(np.int64)
    size, other_size = np.bincount(own), np.bincount(its)
    both = (own > 0) & (its > 0)
    found, voxels = np.unique(own[both] * len(other_size) + its[both], return_counts=True)
    rows = np.stack(np.divmod(found, len(other_size)), axis=1)
    sizes = size[rows[:, 0]], other_size[rows[:, 1]]
    whole = np.minimum(*sizes) if share_of == "smaller" else sizes[0] + sizes[1] - voxels
    linked: Whole = rows[voxels >= min_share * whole] - 1
    return linked
