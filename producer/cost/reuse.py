"""`fetched`: how much of the blocks that boxes read workers fetch, since they do not have it yet.

A worker keeps the blocks that it used last. Neighbouring boxes share blocks, but only a worker that
does both fetches them once.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from math import prod
from typing import NamedTuple

from producer.cost.places import Places
from producer.cost.traffic import VolumeTraffic

_MOST = 50_000  # blocks that are followed


class Fetched(NamedTuple):
    """Numbers of blocks, and bytes as they are stored, that all workers fetch of a volume."""

    blocks: float
    bytes: float


def fetched(places: Places, read: VolumeTraffic, cache_bytes: int, workers: int) -> Fetched:
    """What workers fetch that take the boxes of a job in turn.

    The first boxes of the job, with 50,000 blocks, stand for all.
    """
    if not cache_bytes:
        return Fetched(read.blocks, read.stored_bytes)
    room = cache_bytes // max(1, read.block_bytes)
    each = max(1, read.blocks // max(1, places.count))
    kept: list[OrderedDict[tuple[int, ...], None]] = [OrderedDict() for _ in range(workers)]
    blocks, new_blocks, voxels, new_voxels = 0, 0, 0, 0
    for number, place in enumerate(places.begin(max(1, _MOST // each))):
        mine = kept[number % workers]
        for block in product(*(range(*read.touched[axis][n]) for axis, n in enumerate(place))):
            size = _voxels(read, block)
            blocks, voxels = blocks + 1, voxels + size
            if block in mine:
                mine.move_to_end(block)
                continue
            new_blocks, new_voxels = new_blocks + 1, new_voxels + size
            mine[block] = None
            if len(mine) > room:
                mine.popitem(last=False)
    if not blocks:
        return Fetched(0, 0)
    share, voxel_share = new_blocks / blocks, new_voxels / max(1, voxels)
    return Fetched(read.blocks * share, read.stored_bytes * voxel_share)


def _voxels(read: VolumeTraffic, block: tuple[int, ...]) -> int:
    """Voxels of a block; one at the end of the volume is cut off."""
    sizes = zip(read.block, block, read.bounds.size, strict=True)
    return prod(min(size, end - place * size) for size, place, end in sizes)
