"""`VolumeTraffic`: what the tasks of a job read of a volume, or write to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.output import output_levels
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.volume import Blocks, CheckedVolume
from producer.cost.places import Edges, Places, blocks, box_at, covered, sizes
from producer.cost.ratio import SAMPLE, Ratio, assumed, sampled
from producer.cost.worker import Reads

_ORIGINAL = Vec3(1, 1, 1)
FindRatio = Callable[[str, int], Ratio | None]
"""The ratio of a level of an output, by its path and mip, if something tells it."""


@dataclass(frozen=True)
class VolumeTraffic:
    """What all tasks read of a level, or write to it. Sizes are zyx.

    bounds: of the level.
    block: what one request is for.
    voxels: of the boxes. blocks: that these touch. block_voxels: of these whole blocks.
    voxel_bytes: of all channels.
    factor: voxels are so many times as large as those of the boxes.
    touched: blocks by the place of a box, see `blocks`.
    """

    path: str
    mip: int
    bounds: BoundingBox
    block: Vec3
    voxels: int
    blocks: int
    block_voxels: int
    voxel_bytes: int
    ratio: Ratio
    factor: Vec3
    touched: Edges

    @property
    def stored_bytes(self) -> float:
        """Of the whole blocks, as they are stored."""
        return self.block_voxels * self.voxel_bytes * self.ratio.stored

    def by(self, places: Places, edges: Edges) -> VolumeTraffic:
        """The same for other boxes. edges: of what they read, or write."""
        touched = blocks(edges, self.bounds, self.block)
        whole = covered(touched, self.bounds, self.block)
        return replace(
            self,
            voxels=places.total(sizes(edges)),
            blocks=places.total(sizes(touched)),
            block_voxels=places.total(sizes(whole)),
            touched=touched,
        )

    @property
    def block_bytes(self) -> int:
        """Memory of one block."""
        return self.block_voxels * self.voxel_bytes // max(1, self.blocks)


def read_edges(reads: Reads) -> Edges:
    """What the boxes at each place read."""
    z, y, x = (np.array(axis, np.int64).reshape(-1, 2) for axis in reads.places)
    return z, y, x


def read_traffic(places: Places, reads: Reads) -> VolumeTraffic:
    """What the boxes read of an input. Raises ConfigError and StorageUnavailable."""
    volume = open_volume(reads.path, reads.mip, fill_missing=True)
    edges = read_edges(reads)
    ratio = sampled(volume, _some_blocks(volume, places, edges))
    ratio = ratio or Ratio(1.0, f"assumed: none of the blocks of {volume.path} was found")
    return _traffic(volume, volume, reads.mip, volume.chunk_size, ratio).by(places, edges)


def written_traffic(
    places: Places, chain: Iterable[Configured], find_ratio: FindRatio
) -> Iterator[VolumeTraffic]:
    """What the boxes write to each level of the outputs that exist.

    find_ratio: of a level; where it tells none, blocks that are there tell it.
    """
    for factor, level in output_levels(chain):
        bounds = level.bounds
        edges = places.edges(bounds, factor)
        found = _opened(level)
        if found is None:
            continue
        mip, volume = found
        ratio = find_ratio(level.path, mip) or (
            sampled(volume, _some_blocks(volume, places, edges)) if factor == _ORIGINAL else None
        )
        ratio = ratio or assumed(volume)
        yield _traffic(level, volume, mip, level.block_size, ratio, factor).by(places, edges)


def _opened(level: Blocks) -> tuple[int, CheckedVolume] | None:
    """The volume of a level, for the type of its voxels, and the mip of it; None if unknown."""
    for mip in range(64):
        try:
            volume = open_volume(level.path, mip, output=True)
        except (ConfigError, StorageUnavailable):
            break
        if volume.bounds == level.bounds and volume.block_size == level.block_size:
            return mip, volume
    try:
        return 0, open_volume(level.path, 0, output=True)
    except (ConfigError, StorageUnavailable):
        return None


def _traffic(
    level: Blocks,
    volume: CheckedVolume,
    mip: int,
    block: Vec3,
    ratio: Ratio,
    factor: Vec3 = _ORIGINAL,
) -> VolumeTraffic:
    """The traffic of no boxes."""
    none = np.zeros((0, 2), np.int64)
    return VolumeTraffic(
        path=level.path,
        mip=mip,
        bounds=level.bounds,
        block=block,
        voxels=0,
        blocks=0,
        block_voxels=0,
        voxel_bytes=volume.dtype.itemsize * volume.channels,
        ratio=ratio,
        factor=factor,
        touched=(none, none, none),
    )


def _some_blocks(volume: Blocks, places: Places, edges: Edges) -> list[BoundingBox]:
    """Different objects of a volume that boxes touch, the same ones each time."""
    random, found = Random(0), dict[BoundingBox, None]()
    boxes = [box_at(edges, place) for place in places.some(SAMPLE)]
    first, size = volume.bounds.start, volume.block_size
    for number in range(4 * SAMPLE if boxes else 0):
        box = boxes[number % len(boxes)]
        if box.voxels and len(found) < SAMPLE:
            low, high = (box.start - first) // size, -(-(box.stop - first) // size)
            start = first + Vec3(*map(random.randrange, low, high)) * size
            found[BoundingBox(start, (start + size).min(volume.bounds.stop))] = None
    return list(found)
