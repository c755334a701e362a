"""Where the patches of a box lie. Pure: boxes in, positions out.

    chunk     n patches per axis from the start of the box, grown by a margin, to its end. Cheapest.
    global    patches on a lattice anchored at the global origin; the box takes all that touch it. An output voxel is then
              a function of the image alone, however the image was cut into boxes.

In both, a patch that would reach over the image's border is moved inward.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3

LatticeKind = Literal["chunk", "global"]


@dataclass(frozen=True)
class PatchShape:
    """Sizes of a patch, in voxels.

    input: what the net takes. output: what it returns, centred in the input. overlap: of neighbouring output patches.
    """

    input: Vec3
    output: Vec3
    overlap: Vec3

    @property
    def crop(self) -> Vec3:
        """Voxels that the net needs around its output, on each side."""
        return (self.input - self.output) // 2

    @property
    def stride(self) -> Vec3:
        return self.output - self.overlap


@dataclass(frozen=True)
class Lattice:
    """Positions of patches.

    box: the voxels asked for. starts: per axis, global positions of the output patches' first voxels, ascending.
    """

    box: BoundingBox
    shape: PatchShape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def count(self) -> int:
        """Number of patches."""
        return len(self.starts[0]) * len(self.starts[1]) * len(self.starts[2])

    @property
    def covered(self) -> BoundingBox:
        """All voxels that the output patches write to; contains `box`."""
        first = Vec3(*(s[0] for s in self.starts))
        last = Vec3(*(s[-1] for s in self.starts))
        return BoundingBox(first, last + self.shape.output)

    @property
    def input_box(self) -> BoundingBox:
        """All voxels that the input patches read from."""
        return self.covered.grow(self.shape.crop)

    def patches(self) -> Iterator[Vec3]:
        """First voxels of the output patches, by ascending z, y, x."""
        return (Vec3(*start) for start in itertools.product(*self.starts))

    def reached(self, patch: Vec3) -> Vec3:
        """On each axis, where the patch before `patch` ends; its own first voxel where it is the first."""
        ends = []
        for axis, starts in enumerate(self.starts):
            i = bisect_left(starts, patch[axis])
            ends.append(starts[i - 1] + self.shape.output[axis] if i else patch[axis])
        return Vec3(*ends)


def make_lattice(
    kind: LatticeKind,
    box: BoundingBox,
    shape: PatchShape,
    bounds: BoundingBox | None = None,
    margin: Vec3 | None = None,
) -> Lattice:
    """Positions of the patches that produce `box`.

    bounds: the image's box, over which no patch may read; None when the image goes on everywhere.
    margin: voxels by which a chunk lattice is larger than the box, since single patches are least certain at their rim;
        the overlap when not given.
    Raises ChunkMismatch when the image is smaller than a patch, or the box reaches where no output can be computed.
    """
    grown = shape.overlap if margin is None else margin
    starts = []
    for axis in range(3):
        low = high = None
        if bounds is not None:
            low, high = bounds.start[axis] + shape.crop[axis], bounds.stop[axis] - shape.crop[axis]
            if high - low < shape.output[axis]:
                raise ChunkMismatch(
                    f"a patch of {shape.input[axis]} voxels along {'zyx'[axis]} is larger than the image's "
                    f"{bounds.size[axis]}: take a smaller patch, or --border reflect"
                )
            if box.start[axis] < low or box.stop[axis] > high:
                raise ChunkMismatch(
                    f"output {box} reaches the border of {bounds}, where this net needs {shape.crop[axis]} voxels of context "
                    f"along {'zyx'[axis]}: stay away from the border, or use --border reflect"
                )
        extent = (box.start[axis], box.stop[axis])
        size, overlap = shape.output[axis], shape.overlap[axis]
        if kind == "chunk":
            starts.append(_chunk_starts(extent, size, size - overlap, grown[axis], low, high))
        else:
            starts.append(_global_starts(extent, size, size - overlap, low, high))
    return Lattice(box, shape, (starts[0], starts[1], starts[2]))


def _chunk_starts(
    extent: tuple[int, int], size: int, stride: int, margin: int, low: int | None, high: int | None
) -> tuple[int, ...]:
    begin, end = extent[0] - margin, extent[1] + margin
    if low is not None and high is not None:
        begin, end = max(begin, low), min(end, high)
    end = max(end, begin + size)
    if high is not None and end > high:
        begin, end = high - size, high
    count = 1 + -(-(end - begin - size) // stride)
    starts = (min(begin + i * stride, end - size) for i in range(count))
    return tuple(s for s in starts if s < extent[1] and s + size > extent[0])


def _global_starts(
    extent: tuple[int, int], size: int, stride: int, low: int | None, high: int | None
) -> tuple[int, ...]:
    # One more on each side: a patch moved inward from the border may touch the box where it did not before.
    reach = -(-size // stride) + 1
    first, last = (extent[0] - size) // stride + 1 - reach, (extent[1] - 1) // stride + reach
    starts = set()
    for k in range(first, last + 1):
        start = k * stride
        if low is not None and high is not None:
            if start + size <= low or start >= high:
                continue
            start = min(max(start, low), high - size)
        if start < extent[1] and start + size > extent[0]:
            starts.add(start)
    return tuple(sorted(starts))
