"""`fit_box`: the best box whose memory stays below a limit. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.lattice import PatchShape


@dataclass(frozen=True)
class Fit:
    """A box for inference.

    patches: their number along each axis.
    size: of the box in voxels.
    kept: share of the voxels under its patches that the box keeps.
    """

    patches: Vec3
    size: Vec3
    kept: float


def fit_box(
    shape: PatchShape,
    margin: Vec3,
    extent: Vec3,
    unit: Vec3,
    limit: int,
    needed: Callable[[Vec3], int],
) -> Fit | None:
    """The box that keeps the largest share of what is computed for it; the larger of equal ones.

    margin: voxels that are computed around the box and cut off; smaller than an output patch.
    extent: of the volume. The box need not be larger.
    unit: the size is a multiple of it.
    limit: bytes.
    needed: the bytes for a box of a size.

    Boxes are as wide as they are high, as far as the volume allows. Returns None if no box fits.
    """
    zs, ys, xs = (list(_sizes(shape, margin, extent, unit, axis)) for axis in range(3))
    best: Fit | None = None
    for side in sorted({size for _, size in (*ys, *xs)}):
        y, x = _largest(ys, side), _largest(xs, side)
        fits = bisect_right(zs, limit, key=lambda z: needed(Vec3(z[1], y[1], x[1])))
        if not fits:
            break
        patches, size = (Vec3(*pair) for pair in zip(zs[fits - 1], y, x, strict=True))
        found = Fit(patches, size, size.product / (patches * shape.stride + shape.overlap).product)
        if best is None or (found.kept, found.size.product) > (best.kept, best.size.product):
            best = found
    return best


def block_size(size: Vec3, wanted: Vec3 = Vec3(32, 128, 128)) -> Vec3:
    """The block closest to `wanted` that divides a box of `size` into whole blocks."""
    return Vec3(*(_nearest_divisor(n, w) for n, w in zip(size, wanted, strict=True)))


def _sizes(
    shape: PatchShape, margin: Vec3, extent: Vec3, unit: Vec3, axis: int
) -> Iterator[tuple[int, int]]:
    """Numbers of patches along an axis and the sizes that they yield, up to that of the volume."""
    spare, last = shape.overlap[axis] - 2 * margin[axis], 0
    for patches in count(1):
        size = (patches * shape.stride[axis] + spare) // unit[axis] * unit[axis]
        if size > last:
            yield patches, size
            if size >= extent[axis]:
                return
            last = size


def _largest(sizes: list[tuple[int, int]], most: int) -> tuple[int, int]:
    """The largest size that is not above `most`; the smallest if all are above."""
    return sizes[max(bisect_right(sizes, most, key=lambda pair: pair[1]) - 1, 0)]


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = (n for n in range(1, number + 1) if number % n == 0)
    return min(divisors, key=lambda n: max(n / wanted, wanted / n))
