"""`links_of`: the pairs of ids that join a box to the neighbours before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.labels.faces import Faces
from chunkflow_worker.labels.layout import Ids, Layout
from chunkflow_worker.labels.overlapping import overlapping
from chunkflow_worker.labels.touching import directions, touching


def neighbours(layout: Layout, box: BoundingBox) -> Iterator[tuple[Vec3, BoundingBox]]:
    """The boxes of the grid before this one that it may be linked to, and where they lie.

    Before: in z, y, x order, so that each two neighbours are linked by one of them.
    """
    cell = layout.cells_of(box)[0]
    links = layout.links
    for direction in directions(6 if links.by == "overlap" else links.connectivity):
        other = cell + direction
        if all(0 <= n < count for n, count in zip(other, layout.boxes.grid_size, strict=True)):
            yield direction, layout.box_at(other)


def links_of(layout: Layout, box: BoundingBox, faces: Callable[[BoundingBox], Faces | None]) -> Ids:
    """The pairs of ids of a box and of its neighbours that are one object; shape (n, 2).

    faces: those of a box; None for a box without objects.
    """
    mine, links = faces(box), layout.links
    pairs = [np.zeros((0, 2), np.uint64)]
    for direction, place in neighbours(layout, box) if mine else ():
        other = faces(place)
        if mine is None or other is None:
            continue
        if links.by == "overlap":
            rows = overlapping(mine, other, direction, links.min_share, links.share_of)
        else:
            rows = touching(mine, other, direction, links.connectivity)
        rows = rows[mine.kinds[rows[:, 0]] == other.kinds[rows[:, 1]]]
        pairs.append(np.stack([mine.ids[rows[:, 0]], other.ids[rows[:, 1]]], axis=1))
    return np.concatenate(pairs)
