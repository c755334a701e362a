"""`Volume`: the interface of a stored image, and what every such image has: blocks, checksums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import BoxNotAligned, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.storage.gzipped import crc32

if TYPE_CHECKING:
    from chunkflow_worker.storage.listed_objects import ListedObjects

Take = Callable[[BoundingBox, NDArray[Any]], None]
"""What becomes of the voxels, czyx, of a block. Threads call it."""


class Blocks(Protocol):
    """The grid of blocks of a stored image; it starts where the bounds start.

    A block is an object in storage: a shard, where shards hold many smaller blocks of `chunk_size`.
    """

    @property
    def path(self) -> str: ...
    @property
    def bounds(self) -> BoundingBox: ...
    @property
    def block_size(self) -> Vec3: ...
    @property
    def chunk_size(self) -> Vec3: ...


@dataclass(frozen=True)
class Level:
    """The blocks of a mip level; see `Blocks`. voxel_size: in nanometres, zyx."""

    path: str
    bounds: BoundingBox
    block_size: Vec3
    chunk_size: Vec3
    voxel_size: VoxelSize


class Volume(Blocks, Protocol):
    """One mip level of a stored image. Several threads may call its methods.

    Arrays are zyx, or czyx for several channels.
    """

    @property
    def voxel_size(self) -> VoxelSize: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def channels(self) -> int: ...
    @property
    def layer_type(self) -> LayerType: ...

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """Read the voxels of a box inside the bounds.

        Raises BoxOutsideVolume, DataMissing, BlockDamaged or StorageUnavailable.
        """

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        """Give the voxels of each of the `chunks_of` a box to `take`, in any order.

        Raises the errors of `read`. Not for a volume that was opened to fill missing blocks.
        """

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> list[str]:
        """Write a box of whole blocks.

        Returns the `checksum` of each of `blocks_of` the box; of its stored bytes if the encoding
        is lossy.
        Raises BoxNotAligned, ChunkMismatch or StorageUnavailable.
        """

    def missing(self, bbox: BoundingBox) -> list[str]:
        """Names of the blocks inside the box that are not stored. Raises StorageUnavailable."""


class CheckedVolume(Volume, Protocol):
    """A volume whose blocks can be compared with what a record says of them.

    lossless: the encoding keeps the voxels as they are.
    driver, order: of an array of Zarr or N5, to open it again; empty for a precomputed volume.
    fill_value: of the voxels of a block that is not stored; None if the format gives them no value.
    """

    @property
    def driver(self) -> str: ...
    @property
    def order(self) -> str: ...
    @property
    def mip(self) -> int: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def fill_value(self) -> Any: ...

    def block_name(self, block: BoundingBox) -> str:
        """Name of a block's object below the volume's path."""

    def stored_at(
        self, blocks: Iterable[BoundingBox], listed: ListedObjects | None = None
    ) -> dict[str, datetime | None]:
        """When blocks were stored, by the clock of the storage: by name, without absent blocks.

        listed: a listing of the objects below the path, which tells it without a request for each.
        None where the storage keeps no times. Raises StorageUnavailable.
        """

    def prefixes(self) -> list[str]:
        """What the names of all blocks below the path begin with, to list them in parts."""

    def checksums(self, blocks: Iterable[BoundingBox]) -> list[str]:
        """The `checksum` of the bytes of each block as it is stored.

        Raises DataMissing, BlockDamaged and StorageUnavailable.
        """


def count_objects(volume: Blocks, size: Vec3) -> int:
    """How many boxes of a size, such as its blocks, the volume has."""
    return (-(-volume.bounds.size // size)).product


def blocks_of(volume: Blocks, bbox: BoundingBox) -> Iterator[BoundingBox]:
    """The blocks that the box touches, z slowest; those at the end of the volume are cut off."""
    return _cut(volume, volume.block_size, bbox)


def chunks_of(volume: Blocks, bbox: BoundingBox) -> Iterator[BoundingBox]:
    """The same for the blocks of `chunk_size`, of which shards hold many."""
    return _cut(volume, volume.chunk_size, bbox)


def _cut(volume: Blocks, size: Vec3, bbox: BoundingBox) -> Iterator[BoundingBox]:
    first, end = volume.bounds.start, volume.bounds.stop
    low, high = (bbox.start - first) // size, -(-(bbox.stop - first) // size)
    for place in product(*map(range, low, high)):
        start = first + Vec3.of(place) * size
        yield BoundingBox(start, (start + size).min(end))


def placing(czyx: NDArray[Any], box: BoundingBox) -> Take:
    """Places the part of each block that lies in a box into the array of that box."""

    def place(block: BoundingBox, voxels: NDArray[Any]) -> None:
        if inside := block.clip(box):
            czyx[:, *inside.slices(box.start)] = voxels[:, *inside.slices(block.start)]

    return place


def checksum(array: NDArray[Any]) -> str:
    """CRC-32 of the array's bytes in C order, as eight hexadecimal digits."""
    return f"{crc32(np.ascontiguousarray(array).data.cast('B')):08x}"


def no_such_mip(path: str, mip: int, levels: int, cure: str = "") -> ConfigError:
    """The error for a mip level that a volume of so many `levels` does not have."""
    have = f"the volume has mips 0 to {levels - 1}" if levels > 1 else "the volume has mip 0 alone"
    return ConfigError.one(
        path, "mip", f"{mip} does not exist", f"{have}; {cure}" if cure else have
    )


def check_aligned(volume: Blocks, bbox: BoundingBox) -> None:
    """Raise BoxNotAligned unless the box consists of whole blocks, or ends where the volume ends.

    Two workers would write a block that two boxes share, and one would undo the part of the other.
    """
    first, block, end = volume.bounds.start, volume.block_size, volume.bounds.stop
    start, stop = bbox.start - first, bbox.stop - first
    starts_at_block = not any(start % block)
    stops_at_block = all(
        rest == 0 or last == volume_end
        for rest, last, volume_end in zip(stop % block, bbox.stop, end, strict=True)
    )
    if not (starts_at_block and stops_at_block):
        low = first + start // block * block
        high = (first + -(-stop // block) * block).min(end)
        raise BoxNotAligned(
            f"box {bbox} would share blocks of {list(block)} voxels, zyx, with its neighbours "
            f"in {volume.path}; the nearest box of whole blocks is {BoundingBox(low, high)} "
            "(chunk sizes must be multiples of the block size)"
        )
