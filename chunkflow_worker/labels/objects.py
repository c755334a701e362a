"""`Objects`: rows of a table of objects, and how rows of one object become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import DataRefused
from chunkflow_worker.labels.layout import Ids, Whole

_TYPES = {
    "ids": (np.uint64, ()), "voxels": (np.int64, ()), "sums": (np.int64, (3,)),
    "starts": (np.int64, (3,)), "stops": (np.int64, (3,)), "kinds": (np.uint64, ()),
    "at_border": (np.bool_, ()),
}  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """One row for each object.

    voxels: their number.
    sums: of the voxels' coordinates from the start of the grid, zyx, shape (n, 3).
    starts, stops: bounding boxes, global, zyx, shape (n, 3), half-open.
    kinds: the class that all voxels of an object have; 0 without classes.
    at_border: whether it touches the border of the whole grid.
    """

    ids: Ids
    voxels: Whole
    sums: Whole
    starts: Whole
    stops: Whole
    kinds: Ids
    at_border: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def none(cls) -> Objects:
        return cls(*(np.zeros((0, *shape), dtype) for dtype, shape in _TYPES.values()))

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Objects:
        """Made of arrays by name. Raises KeyError when one is missing."""
        return cls(*(np.asarray(arrays[name], dtype) for name, (dtype, _) in _TYPES.items()))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, from which `of` makes the same."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def take(self, rows: NDArray[Any]) -> Objects:
        """Some of the rows. rows: their indices, or a boolean for each row."""
        return Objects(*(array[rows] for array in self.arrays().values()))

    def without(self, ids: Ids) -> Objects:
        """The rows of all other ids."""
        return self.take(~np.isin(self.ids, ids))

    @classmethod
    def joined(cls, parts: Iterable[Objects]) -> Objects:
        """The rows of all parts, by their ids."""
        parts = [cls.none(), *parts]
        whole = cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in _TYPES))
        return whole.take(np.argsort(whole.ids, kind="stable"))

    def merged(self, groups: NDArray[Any]) -> Objects:
        """One row for each group, in the order of the groups, with the lowest of their ids.

        groups: the group of each row; all numbers from 0 to the largest.
        Raises DataRefused when the sum of coordinates is too large to be exact.
        """
        if not len(self):
            return self
        order = np.argsort(groups, kind="stable")
        first = np.flatnonzero(np.diff(groups[order], prepend=-1))
        rows = self.take(order)
        if np.add.reduceat(rows.sums.astype(float), first).max() >= 2**63:
            raise DataRefused("an object is too large: its coordinates sum to more than 2^63")
        return Objects(
            np.minimum.reduceat(rows.ids, first),
            np.add.reduceat(rows.voxels, first),
            np.add.reduceat(rows.sums, first),
            np.minimum.reduceat(rows.starts, first),
            np.maximum.reduceat(rows.stops, first),
            rows.kinds[first],
            np.logical_or.reduceat(rows.at_border, first),
        )


@dataclass(frozen=True)
class Filter:
    """Which objects of the whole grid stay; None has no limit."""

    min_size: int | None = None
    max_size: int | None = None
    drops_border: bool = False

    def keeps(self, objects: Objects) -> NDArray[np.bool_]:
        """Whether each object stays. objects: complete ones."""
        keep = np.ones(len(objects), bool)
        if self.min_size is not None:
            keep &= objects.voxels >= self.min_size
        if self.max_size is not None:
            keep &= objects.voxels <= self.max_size
        return keep & ~objects.at_border if self.drops_border else keep
