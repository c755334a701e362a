"""`PlainBlocks`: blocks of a precomputed level, each an object of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import BlockDamaged, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import xyz_name
from chunkflow_worker.storage.at_once import at_once
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import local_folder
from chunkflow_worker.storage.unpacking import at_most
from chunkflow_worker.storage.written_file import noting
from chunkflow_worker.volumes.precomputed.codec import Codec
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.local import remove_other_forms
from chunkflow_worker.volumes.volume import Take, checksum

_LISTED = 500  # blocks, for which a request is worth while that lists up to a thousand
_CACHED = "max-age=3600"  # by browsers and by what is between them and the storage


class PlainBlocks:
    """path: of the volume. place: where to read it. key: the folder of the level below it."""

    def __init__(self, path: str, place: str, key: str, codec: Codec, compression: Compression):
        self._path, self._key, self._codec, self._compression = path, key, codec, compression
        self._packing = compression.chosen(path, codec.encoding)
        self._files, self._local = Files(place), local_folder(path)

    def name(self, block: BoundingBox) -> str:
        """Name of a block's object below the volume's path."""
        return f"{self._key}/{xyz_name(block)}"

    def prefixes(self, bounds: BoundingBox, size: Vec3) -> list[str]:
        """What the names of the blocks of a volume begin with: one for each place along x.

        Just the folder, if each would have too few blocks for a listing of its own.
        """
        grid = -(-bounds.size // size)
        if grid.z * grid.y < _LISTED:
            return [f"{self._key}/"]
        edges = (
            (x, min(x + size.x, bounds.stop.x))
            for x in range(bounds.start.x, bounds.stop.x, size.x)
        )
        return [f"{self._key}/{start}-{stop}_" for start, stop in edges]

    def read(self, blocks: Iterable[BoundingBox], take: Take, fill_missing: bool) -> None:
        """Give the voxels of each block to `take`.

        fill_missing: leave those out that are not stored, which are an error otherwise.
        Raises DataMissing, BlockDamaged and StorageUnavailable.
        """

        def read_one(block: BoundingBox) -> None:
            name = self.name(block)
            try:
                with at_most(self._codec.most_bytes(block.size)):
                    content = self._files.get(name)
                if content is not None:
                    take(block, self._codec.decode(content, block.size))
            except (ValueError, EOFError) as error:
                raise BlockDamaged(f"{self._path}: {name} can't be decoded: {error}") from None
            if content is None and not fill_missing:
                raise DataMissing(f"{self._path} lacks the block {name}")

        at_once(read_one, blocks)

    def write(
        self, blocks: Iterable[BoundingBox], voxels_of: Callable[[BoundingBox], NDArray[Any]]
    ) -> list[str]:
        """Write blocks. Returns the checksum of each, of its bytes if its encoding is lossy.

        voxels_of: gives the voxels, czyx.
        """

        def write_one(block: BoundingBox) -> str:
            voxels = np.ascontiguousarray(voxels_of(block), self._codec.dtype)
            content = self._codec.encode(voxels)
            with noting(None):  # the record has the voxels
                self._files.put(
                    self.name(block),
                    self._compression.packed(content, self._packing),
                    self._codec.content_type,
                    packing=self._packing,
                    cache_control=_CACHED,
                )
            if self._local is not None:
                remove_other_forms(self._local / self.name(block), self._packing)
            return checksum(voxels if self._codec.lossless else np.frombuffer(content, np.uint8))

        return at_once(write_one, blocks)

    def absent(self, blocks: Iterable[BoundingBox]) -> list[str]:
        """Names of the blocks that are not stored. Raises StorageUnavailable."""
        stored = self._files.exist(map(self.name, blocks))
        return [name for name, is_stored in stored.items() if not is_stored]
