"""`Volume`: what operators ask of a stored image."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import BoxNotAligned
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize


class Blocks(Protocol):
    """Where the blocks of a stored image lie."""

    @property
    def path(self) -> str: ...
    @property
    def bounds(self) -> BoundingBox: ...
    @property
    def block_size(self) -> Vec3: ...


class Volume(Blocks, Protocol):
    """One mip level of a stored image. Arrays are zyx, or czyx for several channels; methods may run in many threads."""

    @property
    def voxel_size(self) -> VoxelSize: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def channels(self) -> int: ...
    @property
    def layer_type(self) -> LayerType: ...

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """Voxels of a box inside the bounds. Raises DataMissing, BlockDamaged or StorageUnavailable."""

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> None:
        """Write whole blocks. Raises BoxNotAligned or StorageUnavailable."""

    def missing(self, bbox: BoundingBox) -> list[str]:
        """Names of the blocks inside the box that are not stored."""


def blocks_of(volume: Volume, bbox: BoundingBox) -> Iterator[BoundingBox]:
    """The blocks that a box of whole blocks is made of, cut off where the volume ends."""
    first, size, stop = volume.bounds.start, volume.block_size, volume.bounds.stop
    low, high = (bbox.start - first) // size, -(-(bbox.stop - first) // size)
    for place in product(*map(range, low, high)):
        start = first + Vec3.of(place) * size
        yield BoundingBox(start, (start + size).min(stop))


def checksum(array: NDArray[Any]) -> str:
    """CRC-32 of an array's bytes in C order, eight hexadecimal digits."""
    return f"{zlib.crc32(np.ascontiguousarray(array).data.cast('B')):08x}"


def check_aligned(volume: Blocks, bbox: BoundingBox) -> None:
    """Raises BoxNotAligned unless the box is made of whole blocks, or ends where the volume ends.

    A block that two boxes share would be written by two workers at once, and one would undo the other's part.
    """
    first, block, bounds = volume.bounds.start, volume.block_size, volume.bounds
    starts_well = not any((bbox.start - first) % block)
    stops_well = all(
        stop == end or (stop - origin) % size == 0
        for stop, end, origin, size in zip(bbox.stop, bounds.stop, first, block, strict=True)
    )
    if not (starts_well and stops_well):
        low = first + (bbox.start - first) // block * block
        high = (first + -(-(bbox.stop - first) // block) * block).min(bounds.stop)
        raise BoxNotAligned(
            f"box {bbox} would share blocks of {list(block)} voxels with its neighbours in {volume.path}; "
            f"the nearest box of whole blocks is {BoundingBox(low, high)} (chunk sizes must be multiples of the block size)"
        )
