"""`CoarseMask`: the part of a mask volume that covers a box of smaller voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.volumes.volume import Volume


@dataclass(frozen=True)
class CoarseMask:
    """Whether a mask is set, in the mask's own voxels.

    Box and mask are matched by voxel size: the box's faces may cut voxels of the mask, and the
    ratio of the voxel sizes may be a fraction. A voxel takes the mask at its centre. The mask is
    zero outside its volume.

    values: whether the mask is non-zero, or zero when it is inverse; shape zyx.
    first: position in the mask's volume of the first of these values.
    ratios: edge length of a mask voxel divided by that of a voxel of the box, zyx.
    """

    values: NDArray[np.bool_]
    first: Vec3
    ratios: tuple[float, float, float]

    @classmethod
    def read(
        cls, volume: Volume, box: BoundingBox, voxel_size: VoxelSize, inverse: bool = False
    ) -> CoarseMask:
        """Read the part of the mask that covers `box`.

        voxel_size: of the box's voxels, in nanometres, zyx.
        Raises ChunkMismatch when the mask has smaller voxels or several channels.
        """
        z, y, x = map(_ratio, voxel_size, volume.voxel_size)
        covering = _covering(box, (z, y, x))
        values = np.zeros(covering.size, bool)
        inside = covering.clip(volume.bounds)
        if inside is not None:
            stored = volume.read(inside)
            if stored.ndim == 4:
                raise ChunkMismatch(
                    f"mask {volume.path} has {volume.channels} channels, and a mask has one"
                )
            values[inside.slices(covering.start)] = stored != 0
        return cls(~values if inverse else values, covering.start, (z, y, x))

    def at(self, box: BoundingBox) -> NDArray[np.bool_]:
        """The mask at each voxel of the box, zyx. The box must lie in the one that was read."""
        z, y, x = (
            _index(np.arange(start, stop), ratio) - first
            for start, stop, ratio, first in zip(
                box.start, box.stop, self.ratios, self.first, strict=True
            )
        )
        result: NDArray[np.bool_] = self.values[np.ix_(z, y, x)]
        return result

    def any(self, box: BoundingBox) -> bool:
        """Whether the mask is set at any voxel of the box, which must lie in the one read."""
        window = _covering(box, self.ratios).slices(self.first)
        return bool(self.values[window].any())

    def any_in_grid(
        self, starts: Sequence[Sequence[int]], stops: Sequence[Sequence[int]]
    ) -> NDArray[np.bool_]:
        """Whether the mask is set at any voxel of each box of a grid, which lies in the one read.

        starts, stops: where the boxes of a row start and stop, for each axis.
        """
        found = self.values
        for axis in range(3):
            first = _index(np.asarray(starts[axis]), self.ratios[axis]) - self.first[axis]
            last = _index(np.asarray(stops[axis]) - 1, self.ratios[axis]) - self.first[axis]
            values = np.moveaxis(found, axis, -1)
            count = np.cumsum(values, -1, dtype=np.int32)
            inside = count[..., last] - count[..., first] + values[..., first]
            found = np.moveaxis(inside > 0, -1, axis)
        return found


def _covering(box: BoundingBox, ratios: tuple[float, float, float]) -> BoundingBox:
    """The voxels of the mask that hold the centre of a voxel of the box."""
    first = map(_index, box.start, ratios)
    last = map(_index, box.stop - 1, ratios)
    return BoundingBox(Vec3(*map(int, first)), Vec3(*map(int, last)) + 1)


def _ratio(fine: float, coarse: float) -> float:
    if coarse < fine * (1 - 1e-6):
        raise ChunkMismatch(
            f"the mask's voxels of {coarse} nm are finer than the chunk's of {fine} nm: "
            "take a coarser mip"
        )
    ratio = coarse / fine
    # Voxel sizes such as 7.16 and 114.56 nm differ from whole ratios by rounding only.
    return round(ratio) if abs(ratio - round(ratio)) < 1e-4 else ratio


def _index(position: Any, ratio: float) -> Any:
    """Index of the coarse voxel that holds the centre of a fine voxel, along one axis."""
    return np.floor((position + 0.5) / ratio).astype(np.int64)
