"""`Places`: sums over the boxes of a job that need no look at each box.

Voxels, blocks and patches of a box are a product of three numbers, one for its place along each
axis. So the sum over a whole grid is a product of three sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes

_AT_ONCE = 1 << 20  # boxes
Numbers = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""A number for each place along z, y and x."""
Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Along z, y and x: rows of the first voxel, and that after the last one, of each place."""


@dataclass(frozen=True)
class Places:
    """Boxes of a job that are left to do.

    left: whether each box of the grid, from `first` to `last`, is; None for all.
    """

    boxes: Boxes
    left: NDArray[np.bool_] | None

    @classmethod
    def of(cls, boxes: Boxes, done: Sequence[int] = ()) -> Places:
        """done: indices in `boxes` of those that need not be done."""
        left = boxes.chosen.copy() if isinstance(boxes, ChosenBoxes) else None
        if done:
            left = np.ones(boxes.last - boxes.first, bool) if left is None else left
            left[[boxes.task_index(index) - boxes.first for index in done]] = False
        return cls(boxes, left)

    @property
    def count(self) -> int:
        return len(self.boxes) if self.left is None else int(self.left.sum())

    @property
    def region(self) -> BoundingBox:
        """What the whole grid covers."""
        boxes = self.boxes
        stop = boxes.start + boxes.grid_size * boxes.chunk_size
        return BoundingBox(boxes.start, stop if boxes.stop is None else stop.min(boxes.stop))

    def edges(self, bounds: BoundingBox | None = None, factor: Vec3 = Vec3(1, 1, 1)) -> Edges:
        """Where boxes start and stop along each axis, in voxels that are larger by a factor.

        bounds: that the boxes are cut at.
        """
        z, y, x = (self._axis(axis, bounds, factor[axis]) for axis in range(3))
        return z, y, x

    def _axis(self, axis: int, bounds: BoundingBox | None, factor: int) -> NDArray[np.int64]:
        size, region = self.boxes.chunk_size[axis], self.region
        starts = np.arange(region.start[axis], region.stop[axis], size, dtype=np.int64)
        found = np.stack(
            [starts // factor, -(-np.minimum(starts + size, region.stop[axis]) // factor)]
        )
        if bounds is not None:
            found = found.clip(bounds.start[axis], bounds.stop[axis])
        return found.T

    def total(self, numbers: Numbers) -> int:
        """The sum over the boxes of the product of their numbers."""
        whole = self.boxes.grid_size.product
        if self.left is None and (self.boxes.first, self.boxes.last) == (0, whole):
            z, y, x = (int(axis.sum()) for axis in numbers)
            return z * y * x
        return sum(
            int((numbers[0][z] * numbers[1][y] * numbers[2][x]).sum())
            for z, y, x in self._indices()
        )

    def _indices(self) -> Iterator[tuple[NDArray[np.intp], ...]]:
        """The places along z, y and x of many boxes at once."""
        boxes = self.boxes
        for begin in range(0, boxes.last - boxes.first, _AT_ONCE):
            end = min(begin + _AT_ONCE, boxes.last - boxes.first)
            yield np.unravel_index(boxes.first + self._left_in(begin, end), boxes.grid_size)

    def _left_in(self, begin: int, end: int) -> NDArray[np.intp]:
        if self.left is None:
            return np.arange(begin, end)
        return begin + np.flatnonzero(self.left[begin:end])

    def some(self, count: int) -> list[tuple[int, int, int]]:
        """The places of at most `count` boxes, evenly spread over those that are left."""
        total = self.count
        wanted = sorted({(2 * i + 1) * total // (2 * count) for i in range(min(count, total))})
        return self._nth(wanted if total > count else range(total))

    def run(self, count: int, step: int) -> list[tuple[int, int, int]]:
        """The places of at most `count` boxes, each some steps after the other, from the middle."""
        step = max(1, min(step, self.count // max(1, count)))
        first = max(0, (self.count - count * step) // 2)
        return self._nth(range(self.count)[first::step][:count])

    def begin(self, count: int) -> list[tuple[int, int, int]]:
        """The places of the first boxes that are left, at most `count`."""
        return self._nth(range(min(count, self.count)))

    def _nth(self, wanted: Sequence[int]) -> list[tuple[int, int, int]]:
        found, before, rest = [], 0, list(wanted)
        for z, y, x in self._indices():
            here = [n - before for n in rest if n < before + len(z)]
            found += [(int(z[n]), int(y[n]), int(x[n])) for n in here]
            before, rest = before + len(z), rest[len(here) :]
            if not rest:
                break
        return found

    def box(self, place: tuple[int, int, int]) -> BoundingBox:
        """The box at a place."""
        return box_at(self.edges(), place)


def box_at(edges: Edges, place: tuple[int, int, int]) -> BoundingBox:
    """The box at a place along each axis."""
    starts, stops = zip(*(edges[axis][n].tolist() for axis, n in enumerate(place)), strict=True)
    return BoundingBox(Vec3(*starts), Vec3(*stops))


def sizes(edges: Edges) -> Numbers:
    """Voxels along each axis."""
    z, y, x = (axis[:, 1] - axis[:, 0] for axis in edges)
    return z, y, x


def blocks(edges: Edges, bounds: BoundingBox, block: Vec3) -> Edges:
    """The first block that each place touches, and that after the last one, counted from bounds."""
    z, y, x = (_touched(edges[n], bounds.start[n], block[n]) for n in range(3))
    return z, y, x


def _touched(axis: NDArray[np.int64], origin: int, size: int) -> NDArray[np.int64]:
    first, end = (axis[:, 0] - origin) // size, -(-(axis[:, 1] - origin) // size)
    return np.stack([first, np.where(axis[:, 1] > axis[:, 0], end, first)], axis=1)


def covered(touched: Edges, bounds: BoundingBox, block: Vec3) -> Edges:
    """The voxels of whole blocks; those at the end of the bounds are cut off."""
    z, y, x = (
        (bounds.start[n] + touched[n] * block[n]).clip(None, bounds.stop[n]) for n in range(3)
    )
    return z, y, x
