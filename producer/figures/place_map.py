"""`PlaceMap`: where in the volume boxes are done, failed or slow: projections of the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.record import Record

CELLS = 64
"""The most cells along an axis; larger grids have several boxes in a cell on each axis."""
_PART = 1 << 20  # boxes that are counted at once
_VIEWS = (("z", 1, 2), ("y", 0, 2), ("x", 0, 1))  # the axis looked along; rows; columns

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """The grid as it looks along an axis; all arrays have the shape (rows, columns).

    axis: that is looked along. rows, columns: the axes that are seen.
    boxes: of the job in each cell. done: with those that were skipped. seconds: of tasks, summed.
    step: boxes in a cell, along rows and columns.
    """

    axis: str
    rows: str
    columns: str
    step: tuple[int, int]
    boxes: Numbers
    done: Numbers
    skipped: Numbers
    failed: Numbers
    seconds: NDArray[np.float64]

    @property
    def missing(self) -> Numbers:
        """Boxes without a record."""
        return np.asarray(np.maximum(0, self.boxes - self.done - self.failed))


class PlaceMap:
    """Counts records by place. The memory is that of some thousand cells."""

    def __init__(self, boxes: Boxes):
        from chunkflow_worker.job.box_index import BoxIndex

        self._index_of, self._grid, self._first = BoxIndex(boxes).of, boxes.grid_size, boxes.first
        self._steps = [-(-count // CELLS) for count in self._grid]
        sizes = [-(-count // step) for count, step in zip(self._grid, self._steps, strict=True)]
        self._shapes = [(sizes[row], sizes[column]) for _, row, column in _VIEWS]
        # Plain lists: adding to them is ten times as fast as to an array.
        self._counts = {
            name: [[0] * (rows * columns) for rows, columns in self._shapes]
            for name in ("done", "skipped", "failed")
        }
        self._seconds = [[0.0] * (rows * columns) for rows, columns in self._shapes]
        self._boxes = self._totals(boxes)

    def add(self, record: Record) -> None:
        place = self._index_of(record.bbox)
        if place is None:
            return
        names = {"failed": ["failed"], "skipped": ["done", "skipped"]}.get(record.state, ["done"])
        seconds = record.seconds if record.state == "done" else 0.0
        for view, cell in enumerate(self._cells(place)):
            for name in names:
                self._counts[name][view][cell] += 1
            self._seconds[view][cell] += seconds

    def found(self) -> tuple[View, ...]:
        """The views along z, y and x."""
        return tuple(
            View(
                axis,
                "zyx"[row],
                "zyx"[column],
                (self._steps[row], self._steps[column]),
                self._boxes[view].reshape(shape),
                *self._arrays(view, shape),
                np.array(self._seconds[view]).reshape(shape),
            )
            for view, ((axis, row, column), shape) in enumerate(
                zip(_VIEWS, self._shapes, strict=True)
            )
        )

    def _arrays(self, view: int, shape: tuple[int, int]) -> tuple[Numbers, Numbers, Numbers]:
        """Those that are done, skipped and failed."""
        done, skipped, failed = (
            np.array(counts[view], np.int64).reshape(shape) for counts in self._counts.values()
        )
        return done, skipped, failed

    def _cells(self, place: int) -> Iterator[int]:
        zy, x = divmod(self._first + place, self._grid.x)
        at = (*divmod(zy, self._grid.y), x)
        for (_, row, column), (_, columns) in zip(_VIEWS, self._shapes, strict=True):
            yield at[row] // self._steps[row] * columns + at[column] // self._steps[column]

    def _totals(self, boxes: Boxes) -> list[Numbers]:
        """The boxes of the job in each cell of each view."""
        totals = [np.zeros(rows * columns, np.int64) for rows, columns in self._shapes]
        count = boxes.last - boxes.first
        for start in range(0, count, _PART):
            stop = min(start + _PART, count)
            bits = boxes.marks(start, stop).to_bytes(-(-(stop - start) // 8), "little")
            marks = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
            places = np.flatnonzero(marks[: stop - start]) + start + boxes.first
            at = np.unravel_index(places, self._grid)
            for total, (_, row, column), (_, columns) in zip(
                totals, _VIEWS, self._shapes, strict=True
            ):
                cells = at[row] // self._steps[row] * columns + at[column] // self._steps[column]
                total += np.bincount(cells, minlength=len(total))
        return totals
