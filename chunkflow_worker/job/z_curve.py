"""`ZCurve`: the boxes of a job so that those that follow each other lie near each other.

The curve (Morton's) visits a cube of 2 x 2 x 2 boxes, then the next such cube of the same cube of
4 x 4 x 4, and so on. Of a grid whose sides are no powers of two, it leaves out what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes

_BITS = 21  # per axis, of a code of 63
_CUBE = 1 << 13  # boxes of a cube at least, if the grid has so many; eight times as many at most


@dataclass(frozen=True)
class ZCurve:
    """The boxes of a job along the curve, made cube by cube on demand. Places count from 0.

    10^9 boxes take some megabytes, beside what `boxes` takes.
    """

    boxes: Boxes

    def __len__(self) -> int:
        return len(self.boxes)

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The boxes from one place to before another, as text."""
        last = len(self) if last is None else last
        number = int(np.searchsorted(self._starts, first, side="right")) - 1
        for start, stop in pairwise(self._starts[number:].tolist()):
            if start >= last:
                return
            if start < stop:
                yield from self._cube_texts(number)[max(0, first - start) : last - start]
            number += 1

    def _cube_texts(self, number: int) -> list[str]:
        cube = self._cube(number)
        edges = self.boxes.edges
        z, y, x = ([edges(axis, i) for i in range(*cube.range(axis))] for axis in range(3))
        rows = [f"{of_z}_{of_y}_" for of_z in z for of_y in y]
        texts = [row + of_x for row in rows for of_x in x]
        cells = z_order(cube.shape)
        marks = self._marks(cube)
        if marks is not None:
            cells = cells[marks[cells]]
        return [texts[cell] for cell in cells.tolist()]

    def _marks(self, cube: _Cube) -> NDArray[np.bool_] | None:
        """Whether each box of a cube, in plain order, is one of the job; None when all are."""
        if self._is_whole:
            return None
        _, height, width = self.boxes.grid_size
        z, y, x = np.ogrid[tuple(slice(*cube.range(axis)) for axis in range(3))]
        return self.boxes.has(((z * height + y) * width + x).ravel())

    @cached_property
    def _is_whole(self) -> bool:
        """Whether the job has all boxes of the layers."""
        return len(self) == self._part.product

    @cached_property
    def _layers(self) -> tuple[int, int]:
        """The layers of the grid in which the job has boxes: the first, and the one after them."""
        _, height, width = self.boxes.grid_size
        return self.boxes.first // (height * width), -(-self.boxes.last // (height * width))

    @cached_property
    def _part(self) -> Vec3:
        """The size of these layers, in boxes."""
        first, last = self._layers
        return Vec3(last - first, *self.boxes.grid_size[1:])

    @cached_property
    def _side(self) -> int:
        """Of a cube, in boxes: the least power of two with which it has enough of them."""
        side = 1
        while self._part.min(Vec3.of(side)).product < min(_CUBE, self._part.product):
            side *= 2
        return side

    @cached_property
    def _cubes(self) -> Vec3:
        """The number of cubes on each axis."""
        return -(-self._part // self._side)

    def _cube(self, number: int) -> _Cube:
        """A cube by its place on the curve."""
        layer, rest = divmod(int(z_order(self._cubes)[number]), self._cubes.y * self._cubes.x)
        start = Vec3(layer, *divmod(rest, self._cubes.x)) * self._side
        shape = (self._part - start).min(Vec3.of(self._side))
        return _Cube(start + Vec3(self._layers[0], 0, 0), shape)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The place of the first box of each cube, and the number of all boxes."""
        counts = (self._count(self._cube(number)) for number in range(self._cubes.product))
        return np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64))])

    def _count(self, cube: _Cube) -> int:
        marks = self._marks(cube)
        return cube.shape.product if marks is None else int(np.count_nonzero(marks))


class _Cube(NamedTuple):
    """A part of a grid; cut at its end."""

    start: Vec3
    shape: Vec3

    def range(self, axis: int) -> tuple[int, int]:
        return self.start[axis], self.start[axis] + self.shape[axis]


@lru_cache(16)
def z_order(shape: Vec3) -> NDArray[np.int32]:
    """The indices of the cells of a grid in z, y, x order, sorted along the curve."""
    z, y, x = (_spread(np.arange(n, dtype=np.uint64)) for n in shape)
    codes = (z << np.uint64(2))[:, None, None] | (y << np.uint64(1))[:, None] | x
    return np.argsort(codes, axis=None).astype(np.int32)


def _spread(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put two zeros between the bits of numbers below 2**21."""
    spread = numbers & np.uint64((1 << _BITS) - 1)
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        spread = (spread | (spread << np.uint64(shift))) & np.uint64(mask)
    return spread
