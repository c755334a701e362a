"""Fill the holes of objects: background that one object encloses. Needs `pip install "chunkflow-worker[segmentation]"`.

    chunkflow ... plugin -f examples/plugins/fill_holes -i seg -o seg ...

What reaches the chunk's border is no hole, nor is background between several objects.
"""

from __future__ import annotations

from collections import defaultdict

import cc3d
import fastremap
import numpy as np

from chunkflow_worker.image.chunk import Chunk


def execute(segmentation: Chunk) -> Chunk:
    ids = segmentation.object_ids("segmentation")
    empty = ids == 0
    holes, count = cc3d.connected_components(empty, connectivity=6, return_N=True)
    objects, renumbered = fastremap.renumber(ids, in_place=False)  # 1, 2, ...; 0 stays
    id_of = {small: large for large, small in renumbered.items()}

    # Background and objects as regions of one kind: 1 to count, and above.
    regions = np.where(empty, holes, objects.astype(np.uint64) + np.uint64(count))
    around = defaultdict(set)
    for pair in cc3d.contacts(regions, connectivity=6):
        hole, other = sorted(pair)
        if hole <= count < other:
            around[hole].add(id_of[other - count])

    open_to_the_border = {
        int(n) for axis in range(3) for end in (0, -1) for n in np.unique(holes.take(end, axis))
    }
    fill = np.zeros(count + 1, ids.dtype)
    for hole, objects_around in around.items():
        if hole not in open_to_the_border and len(objects_around) == 1:
            fill[hole] = objects_around.pop()
    return segmentation.with_array(
        np.where(empty, fill[holes], ids).reshape(segmentation.array.shape)
    )
