"""`BoxIndex`: the places of boxes in the list of a job by their names, fast for a million names."""

from __future__ import annotations

from typing import NamedTuple

from chunkflow_worker.job.grid import Boxes


class Part(NamedTuple):
    """Boxes that follow each other in the list of a job, and whose names begin alike.

    start, stop: their indices, half-open.
    """

    prefix: str
    start: int
    stop: int


class BoxIndex:
    """The boxes of a grid from its first to its last; also of a job that has only some of them.

    Its memory grows with the number of boxes along an axis only.
    """

    def __init__(self, boxes: Boxes):
        self._boxes, self._count = boxes, boxes.last - boxes.first
        layers, rows, columns = boxes.grid_size
        # A name is one text for each axis, and each text adds its share to the index.
        self._indices = [
            {boxes.edges(axis, place): place * step - offset for place in range(count)}
            for axis, (count, step, offset) in enumerate(
                ((layers, rows * columns, boxes.first), (rows, columns, 0), (columns, 1, 0))
            )
        ]

    def of(self, name: str) -> int | None:
        """The place of the box with that name, from 0; None if there is no such box."""
        z, y, x = self._indices
        try:
            at_z, at_y, at_x = name.split("_")
            index = z[at_z] + y[at_y] + x[at_x]
        except (ValueError, KeyError):
            return None
        return index if 0 <= index < self._count else None

    def name(self, index: int) -> str:
        """The name of the box at that place."""
        _, rows, columns = self._boxes.grid_size
        zy, x = divmod(self._boxes.first + index, columns)
        return "_".join(map(self._boxes.edges, range(3), (*divmod(zy, rows), x)))

    def parts(self, most: int) -> list[Part]:
        """The boxes of the job in parts: layers along z, or rows along x if layers are too large.

        most: boxes in a part; it may have more if rows along x are larger, or are tiny. All boxes
            are one part, without a prefix, if layers have less than a tenth of it.
        """
        z, y, x = self._indices
        in_rows = len(y) * len(x) > most and len(x) * 10 >= most
        size = len(x) if in_rows else len(y) * len(x)
        if size * 10 < most:
            return [Part("", 0, self._count)]
        prefixes = (f"{a}_{b}_" for a in z for b in y) if in_rows else (f"{a}_" for a in z)
        first, last = self._boxes.first, self._boxes.last
        ends = ((i * size, (i + 1) * size) for i in range(len(z) * (len(y) if in_rows else 1)))
        return [
            Part(prefix, max(start, first) - first, min(stop, last) - first)
            for prefix, (start, stop) in zip(prefixes, ends, strict=True)
            if start < last and stop > first
        ]
