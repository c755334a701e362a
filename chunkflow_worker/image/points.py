"""`Points`: positions in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import VoxelSize


@dataclass(frozen=True, eq=False)
class Points:
    """Positions of one kind.

    array: shape (n, 3), one point per row, zyx, in voxels; integers or floats.
    voxel_size: edge lengths of a voxel in nanometres, zyx; ones when the points are in nanometres.
    Raises ChunkMismatch for an array of another shape or type.
    """

    array: NDArray[Any]
    voxel_size: VoxelSize = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        shape, dtype = self.array.shape, self.array.dtype
        if len(shape) != 2 or shape[1] != 3 or dtype.kind not in "iuf":
            raise ChunkMismatch(f"points are numbers of shape (n, 3), not {dtype} of shape {shape}")

    def __len__(self) -> int:
        """Number of points."""
        return len(self.array)
