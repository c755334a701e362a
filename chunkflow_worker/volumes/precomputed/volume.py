"""`PrecomputedVolume`: Neuroglancer's precomputed format, read and written by CloudVolume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import (
    BlockDamaged,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.image.fragments import xyz_name
from chunkflow_worker.storage.cloud import cloud_files, cloud_volume, storage_errors
from chunkflow_worker.storage.fence import before_write
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.largest import check_block, check_read
from chunkflow_worker.storage.path import (
    local_folder,
    normal_path,
    public_path,
    writable_path,
)
from chunkflow_worker.storage.written_file import noting
from chunkflow_worker.volumes.precomputed.block_header import bound_blocks
from chunkflow_worker.volumes.precomputed.encoding import LOSSLESS, check_readable
from chunkflow_worker.volumes.precomputed.info import read_scale
from chunkflow_worker.volumes.precomputed.local import remove_other_form, staged_blocks
from chunkflow_worker.volumes.precomputed.shards import (
    block_number,
    blocks_of_shard,
    packed,
    shard_name,
    stored_in_shards,
)
from chunkflow_worker.volumes.volume import Level, blocks_of, check_aligned, checksum

_BLOCKS_AT_A_TIME = 32  # that are uploaded before the next look whether they may be


class PrecomputedVolume:
    """One mip level of a precomputed volume; see `Volume`.

    fill_missing: read blocks that are not stored as zeros; otherwise they are an error.
    use_https: read an object store through its public https links, without credentials.
    parallel: number of processes that read and write.
    compress: gzip blocks when the encoding gains by it. None: not on a local disk, where such a
        block is a file *.gz, which only CloudVolume expects.
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
        parallel: int = 1,
        compress: bool | None = None,
        output: bool = False,
        info: dict[str, Any] | None = None,
    ):
        self.path, self.mip, self._output = normal_path(path), mip, output
        self.driver = self.order = ""
        self._local = local_folder(self.path)
        self._fill_missing, self._parallel = fill_missing, parallel
        self._compress = self._local is None if compress is None else compress
        self._open = partial(
            cloud_volume,
            mip=mip,
            fill_missing=fill_missing,
            use_https=use_https,
            parallel=parallel,
            bounded=True,
            cache=False,
            compress=None if self._compress else False,
        )
        self._volume = self._open_existing(use_https, info)
        check_readable(self.path, self._volume.encoding)
        bound_blocks()
        self.bounds = _to_box(self._volume.bounds)
        self.chunk_size = Vec3.of(int(n) for n in self._volume.underlying[::-1])
        in_shard = self._sharding and blocks_of_shard(self._sharding, self._grid)
        self.block_size = self.chunk_size * (in_shard or 1)
        self._is_writable = not self._sharding or in_shard is not None
        self.lossless = self._volume.encoding in LOSSLESS
        self.dtype = np.dtype(self._volume.dtype)
        self.channels = int(self._volume.num_channels)
        voxel_bytes = self.dtype.itemsize * self.channels
        check_block(self.chunk_size.product * voxel_bytes, f"{self.path}: a block of mip {mip}")
        z, y, x = (float(n) for n in self._volume.resolution[::-1])
        self.voxel_size: VoxelSize = (z, y, x)
        is_segmentation = self._volume.layer_type == "segmentation"
        self.layer_type: LayerType = "segmentation" if is_segmentation else "image"

    def _open_existing(self, use_https: bool, info: dict[str, Any] | None) -> Any:
        if info is None:
            place = public_path(self.path) if use_https else self.path
            info, _ = read_scale(place, self.mip, self._output)
        with storage_errors(self.path):
            try:
                return self._open(self.path, info=info)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                problem = f"can't be used by CloudVolume: {error or type(error).__name__}"[:300]
                cure = "write it as the format says, or leave out what is not of it"
                raise ConfigError.one(self.path, "info", problem, cure) from error

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        """Voxels of a box inside the bounds; see `Volume`."""
        if not self.bounds.contains(bbox):
            raise BoxOutsideVolume(f"box {bbox} is not inside {self.path}, which is {self.bounds}")
        check_read(bbox.voxels * self.dtype.itemsize * self.channels, f"{self.path}: box {bbox}")
        if self.path.startswith("mem://") and not self._fill_missing:
            # CloudVolume reads absent blocks of volumes in memory as zeros.
            self._check_stored(bbox)
        # CloudVolume reads a single voxel in its own way, and returns it in another shape.
        (whole,) = self._chunks(bbox) if bbox.voxels == 1 else (bbox,)
        try:
            with self._errors():
                xyzc = np.asarray(self._volume.download(_to_bbox(whole)))
        except (ValueError, IndexError, EOFError) as error:  # not gzip data, or too few voxels
            raise self._damaged(bbox, error) from None
        except DataMissing:
            # CloudVolume takes an empty file for an absent one.
            if not self.missing(bbox):
                raise self._damaged(bbox, "it is empty") from None
            raise
        whole_czyx = np.ascontiguousarray(xyzc.transpose()).reshape(self.channels, *whole.size)
        czyx = whole_czyx[(slice(None), *bbox.slices(whole.start))]
        return czyx[0] if self.channels == 1 else czyx

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> None:
        """Write a box of whole blocks; see `Volume`.

        Raises ConfigError for a volume whose shards hold blocks of many tasks, one with blocks of
        several sizes, or one that is read only.
        """
        czyx = array if array.ndim == 4 else array[np.newaxis]
        if czyx.shape != (self.channels, *bbox.size):
            expected = f"{self.channels} channels of {list(bbox.size)}"
            raise ChunkMismatch(f"{self.path} takes {expected}, and got {list(czyx.shape)}")
        if not self._is_writable:
            problem = "a shard holds blocks of many boxes, so no task can write it alone"
            cure = "write to a volume whose shards are boxes, as --shard-size makes them"
            raise ConfigError.one(self.path, "sharding", problem, cure)
        if len(self._volume.scale["chunk_sizes"]) > 1:
            problem = "has several sizes, and only blocks of the first would be written"
            raise ConfigError.one(f"{self.path}/info", "chunk_sizes", problem, "keep one of them")
        writable_path(self.path)
        check_aligned(self, bbox)
        if self._sharding:
            self._write_shards(bbox, czyx)
            return
        with self._errors(), self._writable() as volume:
            for part in self._parts(bbox):
                before_write()
                volume[_to_bbox(part)] = czyx[(slice(None), *part.slices(bbox.start))].transpose()
        if self._local is not None:
            for block in blocks_of(self, bbox):
                remove_other_form(self._local / self.block_name(block), self._compress)

    def _write_shards(self, bbox: BoundingBox, czyx: NDArray[Any]) -> None:
        """Write each shard of the box once, whole."""
        files = Files(f"{self.path}/{self._volume.key}")
        for shard in blocks_of(self, bbox):
            blocks = {
                block_number(self._grid, self._place(block)): czyx[
                    (slice(None), *block.slices(bbox.start))
                ].transpose()
                for block in self._chunks(shard)
            }
            with self._errors():
                content = packed(self._volume, self.mip, blocks)
            with noting(None):  # the record has the voxels
                files.put(self._shard_name(shard), content, "application/octet-stream")

    def missing(self, bbox: BoundingBox) -> list[str]:
        """Names of the blocks inside the box that are not stored, sorted; see `Volume`.

        Of a volume in shards, these are the names that the blocks would have without.
        """
        with self._errors():
            if self._sharding:
                stored = self._stored_in_shards(bbox)
            else:
                stored = self._volume.exists(_to_bbox(bbox))
        return sorted(name for name, is_stored in stored.items() if not is_stored)

    def stored_at(self, blocks: Iterable[BoundingBox]) -> dict[str, datetime | None]:
        """When blocks were stored, by the clock of the storage: by name, without absent blocks.

        None where the storage keeps no times. Raises StorageUnavailable.
        """
        names = [self.block_name(block) for block in blocks]
        with self._errors():
            files = cloud_files(self.path)
            if self.path.startswith("mem://"):  # where cloudfiles fails for absent ones
                names = [name for name, is_stored in files.exists(names).items() if is_stored]
            heads = files.head(names)
        return {name: _written_at(heads[name]) for name in names if heads[name] is not None}

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
        is_shard = self._sharding and self._is_writable
        return f"{self._volume.key}/{self._shard_name(block) if is_shard else xyz_name(block)}"

    def _shard_name(self, shard: BoundingBox) -> str:
        return shard_name(self._sharding, self._grid, self._place(shard))

    def _place(self, block: BoundingBox) -> Vec3:
        """The position of a block, or of the first one of a shard, in the grid of blocks."""
        return (block.start - self.bounds.start) // self.chunk_size

    def _chunks(self, bbox: BoundingBox) -> Iterator[BoundingBox]:
        """The blocks that the box touches, also of a volume in shards."""
        level = Level(self.path, self.bounds, self.chunk_size, self.chunk_size, self.voxel_size)
        return blocks_of(level, bbox)

    def _parts(self, bbox: BoundingBox) -> Iterator[BoundingBox]:
        """The box in parts, between which a worker that may not write any more stops.

        On a local disk, blocks are staged first; and processes are not started for each part.
        """
        if self._local is not None or self._parallel > 1:
            return iter((bbox,))
        count = -(-bbox.size // self.block_size)
        x = min(count.x, _BLOCKS_AT_A_TIME)
        y = min(count.y, max(1, _BLOCKS_AT_A_TIME // x))
        z = max(1, _BLOCKS_AT_A_TIME // (x * y))
        return bbox.split(self.block_size * Vec3(z, y, x))

    @contextmanager
    def _writable(self) -> Iterator[Any]:
        """The CloudVolume to write to: on a local disk one beside the volume, to stage blocks."""
        if self._local is None:
            yield self._volume
            return
        with staged_blocks(self._local, self._volume.key) as folder:
            yield self._open(f"file://{folder}", info=self._volume.info)

    @property
    def _sharding(self) -> dict[str, Any]:
        """How blocks are stored in shards; empty if they are not."""
        return self._volume.scale.get("sharding") or {}

    @property
    def _grid(self) -> Vec3:
        """Number of blocks along each axis."""
        return -(-self.bounds.size // self.chunk_size)

    def _stored_in_shards(self, bbox: BoundingBox) -> dict[str, bool]:
        """Whether the blocks that the box touches are stored, by the names they would have."""
        blocks = list(self._chunks(bbox))
        stored = stored_in_shards(self._volume, self.mip, self._grid, map(self._place, blocks))
        names = (f"{self._volume.key}/{xyz_name(block)}" for block in blocks)
        return dict(zip(names, stored, strict=True))

    def _check_stored(self, bbox: BoundingBox) -> None:
        missing = self.missing(bbox)
        if missing:
            raise DataMissing(
                f"{self.path} lacks {len(missing)} blocks of box {bbox}, for example {missing[0]}"
            )

    def _damaged(self, bbox: BoundingBox, reason: object) -> BlockDamaged:
        return BlockDamaged(f"{self.path}: a block of {bbox} can't be decoded: {reason}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate the errors of CloudVolume and of the codecs."""
        from cloudfiles.exceptions import DecompressionError
        from cloudvolume import exceptions
        from deflate import DeflateError

        try:
            with storage_errors(self.path):
                yield
        except exceptions.EmptyVolumeException as error:
            raise DataMissing(f"{self.path} lacks the block {error}") from None
        except (exceptions.DecodingError, DecompressionError, DeflateError) as error:
            raise BlockDamaged(f"{self.path}: a block can't be decoded: {error}") from error


def _written_at(head: dict[str, Any]) -> datetime | None:
    when: datetime | None = head["Last-Modified"]
    return when if when is None or when.tzinfo else when.replace(tzinfo=UTC)


def _to_box(bbox: Any) -> BoundingBox:
    start, stop = (Vec3.of(int(n) for n in corner[::-1]) for corner in (bbox.minpt, bbox.maxpt))
    return BoundingBox(start, stop)


def _to_bbox(box: BoundingBox) -> Any:
    from cloudvolume.lib import Bbox

    return Bbox(box.start[::-1], box.stop[::-1])
