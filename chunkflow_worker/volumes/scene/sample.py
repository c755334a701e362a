"""`sample_of`: some voxels of a volume, cheap to read, and where its data are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkflowError, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.scene.page import Region
from chunkflow_worker.volumes.volume import CheckedVolume, blocks_of

_VOXELS = 4_000_000  # at most, in all channels
_MOST_LEVELS = 32
_SEARCHED = 4096  # blocks, for one that is stored
_MANY = 0.5  # of the voxels of the fullest section


@dataclass(frozen=True)
class Sample:
    """voxels: zyx or czyx, of `volume` at `box`; all zeros if nothing was found.

    finest, coarsest: size of a voxel of the first and the last level, in nanometres, zyx.
    """

    voxels: NDArray[Any]
    box: BoundingBox
    volume: CheckedVolume
    finest: VoxelSize
    coarsest: VoxelSize

    def region(self) -> Region:
        """Where the data are: those of the whole volume, if the sample is of all of it."""
        found = self._data()
        whole = self.box.size == self.volume.bounds.size
        box = found[0] if found and whole else self.volume.bounds
        middle = found[1] if found else self._middle(box)
        return Region(
            self._nanometres(box.start),
            self._nanometres(box.stop),
            self._nanometres(middle),
            self.finest,
            self.coarsest,
        )

    def _middle(self, box: BoundingBox) -> tuple[float, ...]:
        return tuple((a + b) / 2 for a, b in zip(box.start, box.stop, strict=True))

    def _data(self) -> tuple[BoundingBox, tuple[float, ...]] | None:
        """The box around the voxels that are not 0, and the middle of a section with many."""
        data = self.voxels != 0
        data = data.any(axis=0) if data.ndim == 4 else data
        counts = data.sum(axis=(1, 2))
        if not counts.any():
            return None
        starts, stops = zip(
            *(_ends(data.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))), strict=True
        )
        box = BoundingBox(Vec3.of(starts), Vec3.of(stops))
        z = (box.start.z + box.stop.z) // 2
        if counts[z] < _MANY * counts.max():
            z = int(counts.argmax())
        y, x = (
            (first + last) / 2
            for first, last in (_ends(data[z].any(axis=1)), _ends(data[z].any(axis=0)))
        )
        first = self.box.start
        return box.shift(first), (first.z + z + 0.5, first.y + y, first.x + x)

    def _nanometres(self, place: Any) -> VoxelSize:
        z, y, x = (n * size for n, size in zip(place, self.volume.voxel_size, strict=True))
        return z, y, x


def sample_of(address: str, use_https: bool = False) -> Sample:
    """Voxels of the finest level that is small enough to be read whole, or a part of another one.

    Levels and blocks that are not stored yet count as zeros; then other places are looked at.
    Raises as `open_volume` does.
    """
    levels = list(_levels(address, use_https))
    found = None
    for level in reversed(levels):
        for box in _boxes(level):
            voxels = level.read(box)
            found = Sample(voxels, box, level, levels[0].voxel_size, levels[-1].voxel_size)
            if voxels.any():
                return found
    assert found is not None  # there is a level, and it has a box
    return found


def _levels(address: str, use_https: bool) -> Iterator[CheckedVolume]:
    """The levels, the finest first, to one that is small enough."""
    for mip in range(_MOST_LEVELS):
        try:
            level = open_volume(address, mip, fill_missing=True, use_https=use_https)
        except ConfigError:
            if mip == 0:
                raise
            return
        yield level
        if level.bounds.voxels * level.channels <= _VOXELS:
            return


def _boxes(level: CheckedVolume) -> Iterator[BoundingBox]:
    """Boxes that may have data: in the middle, and the first block that is stored."""
    bounds = level.bounds
    if bounds.voxels * level.channels <= _VOXELS:
        yield bounds
        return
    side = max(int((_VOXELS / level.channels) ** (1 / 3)), 1)
    size = bounds.size.min(Vec3.of(side))
    yield BoundingBox.sized(bounds.start + (bounds.size - size) // 2, size)
    with suppress(ChunkflowError):
        blocks = list(islice(blocks_of(level, bounds), _SEARCHED))
        names = level.stored_at(blocks)
        stored = next((block for block in blocks if level.block_name(block) in names), None)
        if stored is not None:
            yield BoundingBox.sized(stored.start, stored.size.min(size))


def _ends(has_data: NDArray[np.bool_]) -> tuple[int, int]:
    """Where the data of an axis begin and end."""
    [places] = has_data.nonzero()
    return int(places[0]), int(places[-1]) + 1
