"""`Share`: a task that is not a box of voxels, but one of so many shares of the objects.

    tasks: {shares: 100}

In a message, share 17 of 100 is the box 17-18_0-100_1-2: its place along z, the number of all along
y. The 1-2 along x tells it from a range of shards, which is 0-1 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.image.bbox import BoundingBox, Vec3

LEGAL = (1, 10, 100, 1000, 10_000, 100_000)
"""Legal numbers of shares: powers of ten, since the first digits of an id name its share."""


@dataclass(frozen=True)
class Share:
    """The shares from one to before another, counted from 0, of `count`."""

    first: int
    last: int
    count: int

    @classmethod
    def of(cls, box: BoundingBox) -> Share | None:
        """The shares that a task's box stands for; None for a box of voxels."""
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        if (y0, x0, x1) != (0, 1, 2) or y1 not in LEGAL or not 0 <= z0 < z1 <= y1:
            return None
        return cls(z0, z1, y1)

    @property
    def box(self) -> BoundingBox:
        """What stands for it in a message."""
        return BoundingBox(Vec3(self.first, 0, 1), Vec3(self.last, self.count, 2))

    def prefixes(self) -> Iterator[str]:
        """What the names of files of its objects begin with, where a colon follows the id.

        Shares are told apart by the first digits of an id. Of 100, share 42 has 42, 420 and 4200;
        share 4 has the id 4 alone. So each id is in one share, and none has to list all of them.
        """
        digits = len(str(self.count)) - 1
        for number in range(self.first, self.last):
            text = str(number) if digits else ""
            yield f"{text}:" if len(text) < digits else text

    def part_of(self, total: int) -> range:
        """Its part of things that are numbered from 0; empty if there are fewer than shares."""
        return range(self.first * total // self.count, self.last * total // self.count)


def grid_of_shares(count: int) -> Mapping[str, Any]:
    """The options of a grid whose boxes are shares. count: one of `LEGAL`."""
    return {"roi_start": [0, 0, 1], "roi_size": [count, count, 1], "chunk_size": [1, count, 1]}
