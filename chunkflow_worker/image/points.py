"""`Points`: places in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import VoxelSize


@dataclass(frozen=True, eq=False)
class Points:
    """Places of one kind.

    array: shape (n, 3), one point a row, zyx, in voxels.
    voxel_size: edge lengths of such a voxel in nanometres, zyx; ones when the points are in nanometres.
    """

    array: NDArray[Any]
    voxel_size: VoxelSize = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.array.ndim != 2 or self.array.shape[1] != 3 or self.array.dtype.kind not in "iuf":
            raise ChunkMismatch(
                f"points are numbers of shape (n, 3), not {self.array.dtype} of shape {self.array.shape}"
            )

    def __len__(self) -> int:
        return len(self.array)
