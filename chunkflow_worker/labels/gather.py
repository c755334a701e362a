"""`gather`: reads what a region joins: its children, and the links of those that are boxes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.labels.faces import Faces
from chunkflow_worker.labels.folder import Folder
from chunkflow_worker.labels.layout import Ids
from chunkflow_worker.labels.links import links_of
from chunkflow_worker.labels.node import Node
from chunkflow_worker.labels.objects import Filter
from chunkflow_worker.labels.unite import Child

_FACES = 12
"""Boxes whose faces are in memory at once. Neighbours are linked one after the other."""


def gather(
    folder: Folder, region: BoundingBox, keeps: Filter, fill_missing: bool
) -> tuple[dict[BoundingBox, Child], Ids]:
    """The children of a region that hold anything, and the pairs of ids that join their boxes.

    fill_missing: a box without files has no objects.
    Raises ValueError for a box that is no region of the tree; DataMissing for a file that is
    absent or damaged.
    """
    layout = folder.layout()

    @lru_cache(_FACES)
    def faces(box: BoundingBox) -> Faces | None:
        found = folder.faces(box)
        if found is None and not fill_missing:
            raise DataMissing(
                f"there is no {folder.files.path}/{folder.name('faces', box)}: label this box "
                "first; if boxes were skipped or left out on purpose, give --fill-missing"
            )
        return found

    children: dict[BoundingBox, Child] = {}
    links: list[Ids] = [np.zeros((0, 2), np.uint64)]
    for box in layout.children(region):
        if not layout.is_leaf(box):
            children[box] = Child(folder.node(box))
        elif own := faces(box):
            objects = folder.objects(box)
            complete = objects.without(own.ids)
            count = int(np.count_nonzero(keeps.keeps(complete)))
            children[box] = Child(Node.of_box(own, objects, count), complete)
            links.append(links_of(layout, box, faces))
    return children, np.concatenate(links)
