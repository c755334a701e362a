"""A small volume whose size is no multiple of its blocks."""

from __future__ import annotations

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOUNDS = BoundingBox.parse("-3-17_10-50_0-70")  # 20 x 40 x 70 voxels
BLOCK = Vec3(8, 16, 32)  # so that there are 3 x 3 x 3 blocks
VOXEL_SIZE = (40.0, 7.16, 7.16)


def make(path: str, dtype: str = "uint8", channels: int = 1) -> PrecomputedVolume:
    """Create the volume at `path`, without voxels."""
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=VOXEL_SIZE,
        block_size=BLOCK,
        dtype=dtype,
        channels=channels,
    )
    return PrecomputedVolume(path)


def noise(box: BoundingBox, channels: int = 1, dtype: str = "uint8") -> np.ndarray:
    """The same values from 0 to 254 for each call with a box of this size."""
    shape = box.size if channels == 1 else (channels, *box.size)
    return (np.random.default_rng(3).random(shape) * 255).astype(dtype)
