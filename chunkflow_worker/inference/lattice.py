"""`Lattice`: where the patches of a box lie. Pure: boxes in, positions out.

    chunk     n patches per axis, from the start of the box, grown by a margin, to its end. Needs
              the fewest patches.
    global    patches on a lattice that is anchored at the global origin; a box takes all that touch
              it. An output voxel then depends only on the image, however the image was cut into
              boxes.

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

    input: what the net takes.
    output: what it returns; lies in the middle of the input.
    overlap: of neighbouring output patches.
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
        """Distance between neighbouring output patches."""
        return self.output - self.overlap

    def check_sizes(self) -> None:
        """Raises ValueError unless the output can lie in the middle of the input."""
        if not self.output.fits_in(self.input) or any((self.input - self.output) % 2):
            raise ValueError(
                f"output patch {list(self.output)} must be centred in input patch "
                f"{list(self.input)}: smaller by an even number on each axis"
            )

    def check_within_output(self, name: str, value: Vec3) -> None:
        """Raises ValueError, which names the option, unless 0 <= value < output on each axis."""
        if min(value) < 0 or not (value + 1).fits_in(self.output):
            raise ValueError(
                f"{name} {list(value)} must be at least 0 and smaller than the output patch "
                f"{list(self.output)} on each axis"
            )


@dataclass(frozen=True)
class Lattice:
    """Positions of patches.

    box: the voxels to produce.
    starts: per axis, the global positions of the output patches' first voxels, ascending.
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
        """All voxels that the input patches read."""
        return self.covered.grow(self.shape.crop)

    def patches(self) -> Iterator[Vec3]:
        """First voxels of the output patches, by ascending z, then y, then x."""
        return (Vec3(*start) for start in itertools.product(*self.starts))

    def reached(self, patch: Vec3) -> Vec3:
        """Where the patch before `patch` ends, on each axis; for a first patch, where it starts."""
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

    bounds: the image's box, which no patch may leave; None if the image has no border.
    margin: how far the patches of a chunk lattice reach over the box, in voxels, because a net is
        least certain at the rim of its patch; None for the overlap.

    Raises ChunkMismatch if the image is smaller than a patch, or if a part of the box cannot be
    computed.
    """
    grown = shape.overlap if margin is None else margin
    starts = []
    for axis in range(3):
        low, high = None, None
        if bounds is not None:
            low, high = _reachable(axis, box, shape, bounds)
        extent = (box.start[axis], box.stop[axis])
        size, stride = shape.output[axis], shape.stride[axis]
        if kind == "chunk":
            starts.append(_chunk_starts(extent, size, stride, grown[axis], low, high))
        else:
            starts.append(_global_starts(extent, size, stride, low, high))
    return Lattice(box, shape, (starts[0], starts[1], starts[2]))


def _reachable(
    axis: int, box: BoundingBox, shape: PatchShape, bounds: BoundingBox
) -> tuple[int, int]:
    """The part of the image that output patches can reach along an axis.

    Raises ChunkMismatch if it holds no patch, or not all of the box.
    """
    crop = shape.crop[axis]
    low, high = bounds.start[axis] + crop, bounds.stop[axis] - crop
    if high - low < shape.output[axis]:
        raise ChunkMismatch(
            f"a patch of {shape.input[axis]} voxels along {'zyx'[axis]} is larger than the image's "
            f"{bounds.size[axis]}: take a smaller patch, or --border reflect"
        )
    if box.start[axis] < low or box.stop[axis] > high:
        raise ChunkMismatch(
            f"output {box} reaches the border of {bounds}, where this net needs {crop} voxels of "
            f"context along {'zyx'[axis]}: stay away from the border, or use --border reflect"
        )
    return low, high


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
    # One more on each side: a patch that was moved inward from the border may touch the box only
    # because of that.
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
