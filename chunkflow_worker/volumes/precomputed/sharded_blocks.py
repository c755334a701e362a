"""`ShardedBlocks`: blocks of a precomputed level, many in one object, as `shards` describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import BlockDamaged, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import xyz_name
from chunkflow_worker.storage.at_once import at_once
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.gzipped import gunzipped, gzipped
from chunkflow_worker.storage.written_file import noting
from chunkflow_worker.volumes.precomputed.codec import Codec
from chunkflow_worker.volumes.precomputed.shards import (
    block_number,
    blocks_of_shard,
    shard_name,
)
from chunkflow_worker.volumes.volume import Level, Take, checksum, chunks_of


class ShardedBlocks:
    """volume: a CloudVolume, at its mip.

    level: its grid of blocks, and of shards where these are boxes.
    gzip_level: of blocks in the shards, if these are compressed.
    """

    def __init__(self, volume: Any, level: Level, codec: Codec, gzip_level: int):
        self._path, self._key = level.path, volume.key
        self._sharding = volume.scale["sharding"]
        self._is_gzip = self._sharding.get("data_encoding") == "gzip"
        self._codec, self._gzip_level = codec, gzip_level
        self._level = level
        self._grid = -(-level.bounds.size // level.chunk_size)
        self._are_boxes = blocks_of_shard(self._sharding, self._grid) is not None
        self._reader = volume.image.shard_reader(volume.mip)
        self._spec = volume.image.shard_spec(volume.mip)
        self._files = Files(f"{level.path}/{volume.key}")

    def name(self, shard: BoundingBox) -> str:
        """Name of a shard's object below the volume's path, or the one a block would have without.

        The latter where shards are no boxes, so that nobody writes them.
        """
        if not self._are_boxes:
            return self._block_name(shard)
        return f"{self._key}/{shard_name(self._sharding, self._grid, self._place(shard))}"

    def prefixes(self, bounds: BoundingBox, size: Vec3) -> list[str]:
        """The folder of the shards, which are few."""
        return [f"{self._key}/"]

    def read(self, blocks: Iterable[BoundingBox], take: Take, fill_missing: bool) -> None:
        """Give the voxels of each block to `take`; see `PlainBlocks.read`."""
        numbers = {block: self._number(block) for block in blocks}
        contents = self._reader.get_data(list(numbers.values()), path=self._key, raw=True)

        def read_one(block: BoundingBox) -> None:
            content = contents[numbers[block]]
            if content is None:
                if not fill_missing:
                    raise DataMissing(f"{self._path} lacks the block {self._block_name(block)}")
                return
            try:
                if self._is_gzip:
                    content = gunzipped(content, self._codec.most_bytes(block.size))
                take(block, self._codec.decode(content, block.size))
            except (ValueError, EOFError) as error:
                name = self._block_name(block)
                raise BlockDamaged(f"{self._path}: {name} can't be decoded: {error}") from None

        at_once(read_one, numbers)

    def write(
        self, shards: Iterable[BoundingBox], voxels_of: Callable[[BoundingBox], NDArray[Any]]
    ) -> list[str]:
        """Write each shard once, whole; see `PlainBlocks.write`.

        Raises ConfigError if shards are no boxes.
        """
        if not self._are_boxes:
            problem = "a shard holds blocks of many boxes, so no task can write it alone"
            cure = "write to a volume whose shards are boxes, as --shard-size makes them"
            raise ConfigError.one(self._path, "sharding", problem, cure)

        def encoded(block: BoundingBox) -> bytes:
            content = self._codec.encode(np.ascontiguousarray(voxels_of(block), self._codec.dtype))
            return gzipped(content, self._gzip_level) if self._is_gzip else content

        sums = []
        for shard in shards:
            blocks = list(chunks_of(self._level, shard))
            contents = at_once(encoded, blocks)
            content = self._packed(dict(zip(map(self._number, blocks), contents, strict=True)))
            with noting(None):  # the record has the voxels
                name = self.name(shard).removeprefix(f"{self._key}/")
                self._files.put(name, content, "application/octet-stream")
            stored = np.frombuffer(content, np.uint8)
            sums.append(checksum(voxels_of(shard) if self._codec.lossless else stored))
        return sums

    def absent(self, blocks: Iterable[BoundingBox]) -> list[str]:
        """Names of the blocks, as they would be without shards, that the indices do not hold."""
        numbers = {self._block_name(block): self._number(block) for block in blocks}
        stored = self._reader.exists(list(numbers.values()), self._key)
        return [name for name, number in numbers.items() if not stored.get(number)]

    def _packed(self, contents: dict[int, bytes]) -> bytes:
        """The content of a shard. contents: of its blocks, as they are in it, by their numbers.

        CloudVolume's own `make_shard_chunks` stores the first block of zeros for all others in the
        shard, also for those that are cut off at the end of the volume.
        """
        spec = self._spec.clone()
        spec.data_encoding = "raw"  # they are compressed already
        content: bytes = spec.synthesize_shard(contents)
        return content

    def _block_name(self, block: BoundingBox) -> str:
        return f"{self._key}/{xyz_name(block)}"

    def _number(self, block: BoundingBox) -> int:
        return block_number(self._grid, self._place(block))

    def _place(self, block: BoundingBox) -> Vec3:
        """The position of a block, or of the first one of a shard, in the grid of blocks."""
        return (block.start - self._level.bounds.start) // self._level.chunk_size
