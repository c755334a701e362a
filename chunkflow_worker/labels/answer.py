"""`Answer`: what a region tells a child about its ids; `settle` asks from a box up to the grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.labels.find_ids import find_ids
from chunkflow_worker.labels.layout import Ids, Layout, Whole

OPEN, DROPPED = -1, 0
"""Instead of a number: the region above knows more; the object is filtered out."""


@dataclass(frozen=True)
class Answer:
    """What a region knows of the ids that a child passed up, and of all ids of a box.

    ids: in order.
    names: the lowest id of the object that each is a part of, as far as the region knows.
    numbers: of complete objects, from 1; or OPEN or DROPPED. Those of the region's parent come
        before: so many that `offset` of all answers above say.
    offset: how many numbers of the region come before those of this child.
    """

    ids: Ids
    names: Ids
    numbers: Whole
    offset: int

    def rows(self, ids: Ids) -> Whole:
        """The places of ids in `ids`. Raises DataMissing when it does not know one of them."""
        rows, unknown = find_ids(self.ids, ids)
        if len(unknown):
            raise _unknown(unknown)
        return rows

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, from which `of` makes the same."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Answer:
        """Raises KeyError when an array is missing."""
        return cls(arrays["ids"], arrays["names"], arrays["numbers"], int(arrays["offset"]))


def _unknown(ids: Ids) -> DataMissing:
    return DataMissing(
        f"{len(ids)} ids are not in the labelling, for example {ids[0]}: the segmentation was made "
        "again, or not all regions were joined after that"
    )


def settle(ids: Ids, answers: Sequence[Answer], compact: bool) -> Ids:
    """The ids of objects in the whole grid; 0 for those that are filtered out.

    answers: to the box of the ids, to the region that holds it, and so on, up to the whole grid.
    compact: give numbers from 1 on, without gaps; otherwise the lowest id of each object's parts.
    Raises DataMissing when an answer does not know an id.
    """
    names, numbers = ids.copy(), np.full(len(ids), OPEN)
    before = np.cumsum([0, *(answer.offset for answer in answers[:0:-1])])[::-1]
    for answer, base in zip(answers, before, strict=True):
        asked = np.flatnonzero(numbers == OPEN)
        rows = answer.rows(names[asked])
        names[asked] = answer.names[rows]
        found = answer.numbers[rows]
        numbers[asked] = np.where(found > 0, found + base, found)
    if (numbers == OPEN).any():
        raise DataMissing("the last region leaves objects open: it is not the whole grid")
    final = numbers.astype(np.uint64) if compact else names
    return np.where(numbers == DROPPED, np.uint64(0), final)


def settle_all(
    layout: Layout, ids: Ids, answer: Callable[[BoundingBox], Answer], compact: bool
) -> Ids:
    """The same for ids of any boxes. answer: to a box or a region."""
    outside = ids[ids > layout.region.voxels]
    if len(outside):
        raise _unknown(outside)
    final = np.zeros(len(ids), np.uint64)
    cells, box_of = np.unique(layout.cells(ids), axis=0, return_inverse=True)
    for number, cell in enumerate(cells.tolist()):
        rows = np.flatnonzero(box_of.ravel() == number)
        path = layout.path(layout.box_at(Vec3(*cell)))
        final[rows] = settle(ids[rows], [answer(box) for box in path], compact)
    return final
