"""`VoxelMetadata`: what a file says of its voxels, and what of it was not understood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isclose, isfinite
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import LayerType, VoxelSize

_WHOLE = 1e-3  # of a voxel: the rounding of sizes in files


@dataclass(frozen=True)
class VoxelMetadata:
    """What a file says of its voxels; None where it says nothing.

    voxel_size: nanometres, zyx.
    voxel_offset: global position of the first voxel, in voxels, zyx.
    origin: the same in nanometres; counts if there is no voxel_offset.
    layer_type: the meaning of the values.
    white: the largest possible value, if 0 is white and this is black.
    ignored: what the file says and was not taken, by the option that sets it. Each text completes
        the sentence "the file ...".
    """

    voxel_size: VoxelSize | None = None
    voxel_offset: Vec3 | None = None
    origin: tuple[float, float, float] | None = None
    layer_type: LayerType | None = None
    white: int | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)

    def offset(self, voxel_size: VoxelSize | None) -> tuple[Vec3 | None, str]:
        """The position of the first voxel, and what is wrong with it; empty if nothing is.

        voxel_size: of the chunk, in nanometres, zyx; None if it is not known.
        """
        if self.voxel_offset is not None or self.origin is None:
            return self.voxel_offset, ""
        if not any(self.origin):
            return Vec3(0, 0, 0), ""
        place = f"starts at {plain(self.origin)} nm"
        if voxel_size is None:
            return None, f"{place}, and gives no voxel size to count this in voxels"
        exact = [o / s for o, s in zip(self.origin, voxel_size, strict=True)]
        rounded = Vec3(*map(round, exact))
        if all(abs(e - r) < _WHOLE for e, r in zip(exact, rounded, strict=True)):
            return rounded, ""
        return rounded, f"{place}, which is rounded to whole voxels, {plain(rounded)}"


def plain(numbers: Iterable[float]) -> str:
    """Numbers as text, separated by spaces."""
    return " ".join(f"{number:.6g}" for number in numbers)


def in_nanometres(number: float, unit: float) -> float:
    """A length in units of `unit` nanometres, without the last digits that multiplying leaves."""
    return number if unit == 1 else float(f"{number * unit:.12g}")


def is_same_size(one: Iterable[float], other: Iterable[float]) -> bool:
    """Whether two voxel sizes are the same, except for their rounding in a file."""
    return all(isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))


def voxel_size_of(lengths: Iterable[float]) -> VoxelSize | None:
    """Three lengths as a voxel size; None unless all are finite and above 0."""
    sizes = tuple(map(float, lengths))
    if len(sizes) != 3 or not all(isfinite(size) and size > 0 for size in sizes):
        return None
    return sizes
