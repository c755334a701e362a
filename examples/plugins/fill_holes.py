"""Fill the holes of objects. A hole is background that one object encloses.

Needs `pip install "chunkflow-worker[segmentation]"`.

    chunkflow ... plugin -f examples/plugins/fill_holes -i seg -o seg ...

Background that reaches the border of the chunk, or that lies between several objects, is no hole.
"""

from __future__ import annotations

from collections import defaultdict

import cc3d
import fastremap
import numpy as np

from chunkflow_worker.api import Chunk


def execute(segmentation: Chunk) -> Chunk:
    """Return the segmentation with each hole filled with the id of its object."""
    ids = segmentation.object_ids("segmentation")
    empty = ids == 0
    holes, count = cc3d.connected_components(empty, connectivity=6, return_N=True)
    objects, renumbered = fastremap.renumber(ids, in_place=False)  # 1, 2, ...; 0 stays 0
    id_of = {small: large for large, small in renumbered.items()}

    # One array of regions: background regions are 1 to count, objects are above count.
    regions = np.where(empty, holes, objects.astype(np.uint64) + np.uint64(count))
    neighbours = defaultdict(set)
    for pair in cc3d.contacts(regions, connectivity=6):
        hole, other = sorted(pair)
        if hole <= count < other:
            neighbours[hole].add(id_of[other - count])

    at_border = {
        int(n) for axis in range(3) for end in (0, -1) for n in np.unique(holes.take(end, axis))
    }
    fill = np.zeros(count + 1, ids.dtype)
    for hole, around in neighbours.items():
        if hole not in at_border and len(around) == 1:
            fill[hole] = around.pop()
    filled = np.where(empty, fill[holes], ids)
    return segmentation.with_array(filled.reshape(segmentation.array.shape))
