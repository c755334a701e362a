"""`CoarseMask`: the part of a coarser mask volume that belongs to a box of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.storage.volume import Volume


@dataclass(frozen=True)
class CoarseMask:
    """Whether the mask is non-zero (zero, when inverse), in its own voxels.

    Box and mask are matched by voxel size: neither the box's edges nor the ratio of the voxel sizes need to fit. A voxel
    takes the mask at its centre. Outside the mask's volume counts as zero.
    """

    values: NDArray[np.bool_]
    first: Vec3
    ratios: tuple[float, float, float]

    @classmethod
    def read(
        cls, volume: Volume, box: BoundingBox, voxel_size: VoxelSize, inverse: bool = False
    ) -> CoarseMask:
        """Read what covers `box`, whose voxels are of `voxel_size` nanometres, zyx.

        Raises ChunkMismatch when the mask is finer than these, or has several channels.
        """
        z, y, x = (
            _ratio(fine, coarse) for fine, coarse in zip(voxel_size, volume.voxel_size, strict=True)
        )
        ratios = (z, y, x)
        first = Vec3(*(int(_index(b, r)) for b, r in zip(box.start, ratios, strict=True)))
        last = Vec3(*(int(_index(b - 1, r)) for b, r in zip(box.stop, ratios, strict=True)))
        needed = BoundingBox(first, last + 1)
        inside = needed.clip(volume.bounds)
        values = np.zeros(needed.size, bool)
        if inside is not None:
            stored = volume.read(inside)
            if stored.ndim == 4:
                raise ChunkMismatch(
                    f"mask {volume.path} has {volume.channels} channels, and a mask has one"
                )
            values[inside.slices(first)] = stored != 0
        return cls(~values if inverse else values, first, ratios)

    def at(self, box: BoundingBox) -> NDArray[np.bool_]:
        """The mask at each voxel of the box, zyx."""
        z, y, x = (
            _index(np.arange(a, b), r) - f
            for a, b, r, f in zip(box.start, box.stop, self.ratios, self.first, strict=True)
        )
        result: NDArray[np.bool_] = self.values[np.ix_(z, y, x)]
        return result

    def any(self, box: BoundingBox) -> bool:
        """Whether the mask is set at any voxel of the box."""
        first = (
            int(_index(a, r)) - f
            for a, r, f in zip(box.start, self.ratios, self.first, strict=True)
        )
        last = (
            int(_index(b - 1, r)) - f
            for b, r, f in zip(box.stop, self.ratios, self.first, strict=True)
        )
        return bool(
            self.values[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))].any()
        )


def _ratio(fine: float, coarse: float) -> float:
    if coarse < fine * (1 - 1e-6):
        raise ChunkMismatch(
            f"the mask's voxels of {coarse} nm are finer than the chunk's of {fine} nm: take a coarser mip"
        )
    ratio = coarse / fine
    # Voxel sizes such as 7.16 and 114.56 nm differ from whole ratios by rounding only.
    return round(ratio) if abs(ratio - round(ratio)) < 1e-4 else ratio


def _index(position: Any, ratio: float) -> Any:
    """Index of the coarse voxel that holds the centre of a fine one, along one axis."""
    return np.floor((position + 0.5) / ratio).astype(np.int64)
