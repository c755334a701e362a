"""`Tree`: the regions above the boxes of a grid, so that no task joins more than eight others.

A wave has regions of twice the size along each axis: 2 x 2 x 2 of those of the wave before, cut at
the end of the grid. The last wave is one region, the whole grid. A region that would have a single
child is left out, so that no two tasks are the same box: its child belongs to the region above.
"""

from __future__ import annotations

from dataclasses import dataclass

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes


@dataclass(frozen=True)
class Tree:
    """The regions above the boxes of a grid. It reads no storage.

    leaves: all boxes of their grid count, also those that the job leaves out.
    """

    leaves: Boxes

    @property
    def region(self) -> BoundingBox:
        """All voxels of the grid."""
        start, stop = self.leaves.start, self.leaves.stop
        end = start + self.leaves.chunk_size * self.leaves.grid_size
        return BoundingBox(start, end if stop is None else end.min(stop))

    def waves(self) -> list[Boxes]:
        """The regions of each wave.

        The children of a region are leaves and regions of earlier waves. A grid of one box has one
        wave, which is this box, so that what the last wave does is done for every grid.
        """
        regions = [self._wave(number) for number in range(1, self._count + 1)]
        return regions or [self._level(0)]

    def children(self, region: BoundingBox) -> list[BoundingBox]:
        """The two to eight boxes that a region joins, in z, y, x order; none for a leaf.

        Raises ValueError for a box that is neither a region nor a leaf.
        """
        if region in self._level(0):
            return []
        for number in range(1, self._count + 1):
            if region in self._wave(number):
                return list(region.split(self._level(number - 1).chunk_size))
        raise ValueError(f"box {region} is not in the tree of {self.region}")

    @property
    def _count(self) -> int:
        """The number of waves."""
        return (max(self.leaves.grid_size) - 1).bit_length()

    def _wave(self, number: int) -> Boxes:
        every = self._level(number)
        corner = every[-1]  # only a region that is the last along all axes can have a single child
        if corner.size.fits_in(self._level(number - 1).chunk_size):
            return Boxes(
                every.start, every.chunk_size, every.grid_size, every.stop, 0, every.last - 1
            )
        return every

    def _level(self, number: int) -> Boxes:
        """The regions of 2^number leaves along each axis, also those with a single child."""
        size, grid = self.leaves.chunk_size * 2**number, -(-self.leaves.grid_size // 2**number)
        return Boxes(self.leaves.start, size, grid, self.region.stop, 0, grid.product)
