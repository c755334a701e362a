"""`Node`: what a box or a region passes up the tree: nothing but what others may join.

Objects that touch no face with a neighbour are complete, and stay below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.labels.faces import SIDES, Faces, bit
from chunkflow_worker.labels.layout import Ids, Layout
from chunkflow_worker.labels.objects import Objects


@dataclass(frozen=True)
class Node:
    """What a box or a region passes up.

    objects: the rows of those that touch a face with a neighbour, by their ids.
    face_ids, names: ids that boxes gave to parts of these objects at those faces, in order, and the
        id that the object has by now.
    touches: the bits of the faces of its own box that each of `face_ids` touches.
    pairs: ids of one object of which one was given outside; shape (n, 2).
    complete: number of objects at or below this place that are complete, and stay.
    """

    objects: Objects
    face_ids: Ids
    names: Ids
    touches: NDArray[np.uint8]
    pairs: Ids
    complete: int

    @classmethod
    def of_box(cls, faces: Faces, objects: Objects, complete: int) -> Node:
        """objects: all those of the box. complete: how many of them are, and stay."""
        rows = objects.take(np.isin(objects.ids, faces.ids))
        pairs = np.zeros((0, 2), np.uint64)
        return cls(rows, faces.ids, faces.ids, faces.touches, pairs, complete)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, from which `of` makes the same."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)[1:]}
        return own | {f"objects.{name}": array for name, array in self.objects.arrays().items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Node:
        """Raises KeyError when an array is missing."""
        objects = Objects.of(
            {name[8:]: arrays[name] for name in arrays if name.startswith("objects.")}
        )
        own = {f.name: arrays[f.name] for f in fields(cls)[1:-1]}
        return cls(objects, **own, complete=int(arrays["complete"]))


def at_outer_faces(
    layout: Layout, region: BoundingBox, ids: Ids, touches: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Whether each id touches a face of its box that is on a face of the region."""
    first, after = layout.cells_of(region)
    cells = layout.cells(ids)
    outer = np.zeros(len(ids), bool)
    for axis, side in SIDES:
        end = after[axis] - 1 if side > 0 else first[axis]
        outer |= (cells[:, axis] == end) & (touches & bit(axis, side) > 0)
    return outer
