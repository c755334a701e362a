"""Blocks of a precomputed volume that are packed in shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_worker.image.bbox import Vec3


def stored_in_shards(volume: Any, mip: int, grid: Vec3, places: Sequence[Vec3]) -> list[bool]:
    """Whether the indices of the shards hold the blocks at `places`, in their order.

    volume: a CloudVolume.
    grid: number of blocks along each axis, zyx.
    places: position of each block in the grid, zyx.
    """
    from cloudvolume.datasource.precomputed.common import compressed_morton_code

    xyz = np.array([place[::-1] for place in places])
    codes = [int(code) for code in compressed_morton_code(xyz, np.array(grid[::-1], np.uint32))]
    stored = volume.image.shard_reader(mip).exists(codes, volume.key)
    return [bool(stored.get(code)) for code in codes]
