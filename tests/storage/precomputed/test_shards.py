from __future__ import annotations

from typing import Any

import numpy as np
from cloudvolume import CloudVolume

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.precomputed.shards import stored_in_shards


def test_the_indices_tell_which_blocks_are_stored(sharded_volume: Any) -> None:
    array = np.ones((20, 40, 70), np.uint8)  # 3 x 3 x 5 blocks of 8 x 16 x 16
    bounds = BoundingBox.sized((3, -5, 7), array.shape)
    grid = Vec3(3, 3, 5)
    blocks = dict(zip(np.ndindex(*grid), bounds.split(Vec3(8, 16, 16)), strict=True))
    stored = {(0, 0, 0), (2, 1, 4), (1, 2, 3)}
    path = sharded_volume("v", array, bounds.start, [blocks[place] for place in stored])
    places = [Vec3(*place) for place in blocks]
    found = stored_in_shards(CloudVolume(path, progress=False), 0, grid, places)
    assert {place for place, is_stored in zip(blocks, found, strict=True) if is_stored} == stored
