"""`PrecomputedVolume`: Neuroglancer's precomputed format, with the encodings of CloudVolume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import (
    BlockDamaged,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import LayerType
from chunkflow_worker.storage.cloud import cloud_files, cloud_volume, storage_errors
from chunkflow_worker.storage.largest import check_block, check_read
from chunkflow_worker.storage.path import local_folder, normal_path, public_path, writable_path
from chunkflow_worker.volumes.precomputed.codec import Codec
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.encoding import check_readable
from chunkflow_worker.volumes.precomputed.info import level_of, read_scale
from chunkflow_worker.volumes.precomputed.local import times_here
from chunkflow_worker.volumes.precomputed.plain_blocks import PlainBlocks
from chunkflow_worker.volumes.precomputed.sharded_blocks import ShardedBlocks
from chunkflow_worker.volumes.volume import (
    Take,
    blocks_of,
    check_aligned,
    checksum,
    chunks_of,
    placing,
)

if TYPE_CHECKING:
    from chunkflow_worker.storage.listed_objects import ListedObjects


class PrecomputedVolume:
    """One mip level of a precomputed volume; see `Volume`.

    fill_missing: read blocks that are not stored as zeros; otherwise they are an error.
    use_https: read an object store through its public https links, without credentials.
    compression: of blocks that are written, if their encoding gains by it. Blocks in shards are
        compressed as the info says.
    output: the chain writes the volume; the error for an absent one then says how to create it.
    info: what to take the volume for, instead of its stored info.
    Raises ConfigError when there is no such volume or mip level, StorageUnavailable.
    """

    fill_value = None

    def __init__(
        self,
        path: str,
        mip: int = 0,
        fill_missing: bool = False,
        use_https: bool = False,
        compression: Compression = Compression(),
        output: bool = False,
        info: dict[str, Any] | None = None,
    ):
        self.path, self.mip, self._fill_missing = normal_path(path), mip, fill_missing
        self.driver = self.order = ""
        place = public_path(self.path) if use_https else self.path
        if info is None:
            info, _ = read_scale(place, mip, output)
        opened = self._open(info, use_https)
        check_readable(self.path, opened.encoding)
        self._scale = info["scales"][mip]
        level = level_of(self.path, self._scale)
        self.bounds, self.voxel_size = level.bounds, level.voxel_size
        self.chunk_size, self.block_size = level.chunk_size, level.block_size
        self._codec = Codec(opened, mip)
        self.lossless, self.dtype = self._codec.lossless, self._codec.dtype
        self.channels = self._codec.channels
        block_bytes = self.chunk_size.product * self.dtype.itemsize * self.channels
        check_block(block_bytes, f"{self.path}: a block of mip {mip}")
        is_segmentation = opened.layer_type == "segmentation"
        self.layer_type: LayerType = "segmentation" if is_segmentation else "image"
        self._blocks: PlainBlocks | ShardedBlocks
        if self._scale.get("sharding"):
            self._blocks = ShardedBlocks(opened, level, self._codec, compression.gzip_level)
        else:
            self._blocks = PlainBlocks(self.path, place, opened.key, self._codec, compression)

    def _open(self, info: dict[str, Any], use_https: bool) -> Any:
        with storage_errors(self.path):
            try:
                return cloud_volume(
                    self.path, mip=self.mip, use_https=use_https, cache=False, info=info
                )
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                problem = f"can't be used by CloudVolume: {error or type(error).__name__}"[:300]
                cure = "write it as the format says, or leave out what is not of it"
                raise ConfigError.one(self.path, "info", problem, cure) from error

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """Voxels of a box inside the bounds; see `Volume`."""
        if not self.bounds.contains(bbox):
            raise BoxOutsideVolume(f"box {bbox} is not inside {self.path}, which is {self.bounds}")
        check_read(bbox.voxels * self.dtype.itemsize * self.channels, f"{self.path}: box {bbox}")
        make = np.zeros if self._fill_missing else np.empty
        czyx = make((self.channels, *bbox.size), self.dtype)
        with self._errors():
            self._blocks.read(chunks_of(self, bbox), placing(czyx, bbox), self._fill_missing)
        return czyx[0] if self.channels == 1 else czyx

    def read_blocks(self, blocks: Iterable[BoundingBox], take: Take) -> None:
        """Give the voxels of blocks to `take`; see `Volume`."""
        with self._errors():
            self._blocks.read(blocks, take, fill_missing=False)

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> list[str]:
        """Write a box of whole blocks; see `CheckedVolume`.

        Raises ConfigError for a volume whose shards hold blocks of many tasks, one with blocks of
        several sizes, or one that is read only.
        """
        czyx = array if array.ndim == 4 else array[np.newaxis]
        if czyx.shape != (self.channels, *bbox.size):
            expected = f"{self.channels} channels of {list(bbox.size)}"
            raise ChunkMismatch(f"{self.path} takes {expected}, and got {list(czyx.shape)}")
        if len(self._scale["chunk_sizes"]) > 1:
            problem = "has several sizes, and only blocks of the first would be written"
            raise ConfigError.one(f"{self.path}/info", "chunk_sizes", problem, "keep one of them")
        writable_path(self.path)
        check_aligned(self, bbox)

        def voxels_of(block: BoundingBox) -> NDArray[Any]:
            return czyx[(slice(None), *block.slices(bbox.start))]

        with storage_errors(self.path):
            return self._blocks.write(blocks_of(self, bbox), voxels_of)

    def missing(self, bbox: BoundingBox) -> list[str]:
        """Names of the blocks inside the box that are not stored, sorted; see `Volume`.

        Of a volume in shards, these are the names that the blocks would have without.
        """
        with self._errors():
            return sorted(self._blocks.absent(chunks_of(self, bbox)))

    def stored_at(
        self, blocks: Iterable[BoundingBox], listed: ListedObjects | None = None
    ) -> dict[str, datetime | None]:
        """When blocks were stored; see `CheckedVolume`."""
        names = [self.block_name(block) for block in blocks]
        if listed is not None:
            stored = listed.stored(names)
            return {n: datetime.fromisoformat(one.time) for n, one in stored.items() if one}
        with storage_errors(self.path):
            folder = local_folder(self.path)
            times: dict[str, datetime | None] = {}
            if folder is not None:
                times |= times_here(folder, names)
            names = [name for name in names if name not in times]
            if not names:
                return times
            files = cloud_files(self.path)
            if self.path.startswith("mem://"):  # where cloudfiles fails for absent ones
                names = [name for name, is_stored in files.exists(names).items() if is_stored]
            heads = files.head(names)
        return times | {name: _written_at(heads[name]) for name in names if heads[name] is not None}

    def prefixes(self) -> list[str]:
        """The beginnings of the names of all blocks; see `CheckedVolume`."""
        return self._blocks.prefixes(self.bounds, self.block_size)

    def checksums(self, blocks: Iterable[BoundingBox]) -> list[str]:
        """The `checksum` of the bytes of each block as it is stored, but for gzip.

        Raises DataMissing, BlockDamaged and StorageUnavailable.
        """
        names = [self.block_name(block) for block in blocks]
        with self._errors():
            found = {f["path"]: f["content"] for f in cloud_files(self.path).get(names)}
        for name in names:
            if found[name] is None:
                raise DataMissing(f"{self.path} lacks the block {name}")
        return [checksum(np.frombuffer(found[name], np.uint8)) for name in names]

    def block_name(self, block: BoundingBox) -> str:
        """Name of a block's file, or of a shard's, below the volume's path."""
        return self._blocks.name(block)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate the errors of storage, and those of what cannot be unpacked."""
        from cloudfiles.exceptions import DecompressionError
        from cloudvolume.exceptions import DecodingError

        try:
            with storage_errors(self.path):
                yield
        except (DecodingError, DecompressionError, ValueError, IndexError, EOFError) as error:
            raise BlockDamaged(f"{self.path}: a block can't be decoded: {error}") from error


def _written_at(head: dict[str, Any]) -> datetime | None:
    when: datetime | None = head["Last-Modified"]
    return when if when is None or when.tzinfo else when.replace(tzinfo=UTC)
