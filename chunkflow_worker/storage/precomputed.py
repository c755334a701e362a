"""Neuroglancer precomputed volumes, by CloudVolume; the only file that reads and writes with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import (
    BlockDamaged,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.storage.files import (
    Files,
    check_bucket,
    normal_path,
    prepare_environment,
    storage_errors,
)
from chunkflow_worker.storage.volume import blocks_of, check_aligned

# What Neuroglancer and its kin can read. CloudVolume would write others.
_DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
# Libraries of encodings that the core of CloudVolume lacks.
_CODECS = {"compresso": "compresso", "crackle": "crackle", "fpzip": "fpzip", "kempressed": "fpzip"}
_CODECS |= {"jxl": "imagecodecs", "png": "pyspng"}
# Encodings that take some types alone.
_TAKES = {
    "jpeg": ("uint8",),
    "fpzip": ("float32",),
    "kempressed": ("float32",),
    "compressed_segmentation": ("uint32", "uint64"),
}
_LOSSLESS = {"raw", "png", "compressed_segmentation", "compresso", "crackle"}


class PrecomputedVolume:
    """One mip level of a precomputed volume; see `Volume`.

    compress: with gzip, where the encoding gains by it. A local file is then named *.gz, which CloudVolume alone expects.
    Raises ConfigError when there is no volume or no such mip at the path, StorageUnavailable when it can't be reached.
    """

    def __init__(
        self,
        path: str,
        mip: int = 0,
        fill_missing: bool = False,
        use_https: bool = False,
        parallel: int = 1,
        compress: bool = True,
    ):
        prepare_environment()
        from cloudvolume import CloudVolume, exceptions

        self.path, self.mip = normal_path(path), mip
        check_bucket(self.path)
        self._local = (
            Path(self.path.removeprefix("file://")) if self.path.startswith("file://") else None
        )
        self._open = partial(
            CloudVolume,
            mip=mip,
            fill_missing=fill_missing,
            use_https=use_https,
            parallel=parallel,
            bounded=True,
            progress=False,
            cache=False,
            compress=None if compress else False,
        )
        try:
            with storage_errors(self.path):
                self._volume = self._open(self.path)
        except exceptions.InfoUnavailableError:
            raise ConfigError.one(
                self.path,
                "info",
                "there is no precomputed volume here",
                "make one before, with: chunkflow create-info",
            ) from None
        except exceptions.ScaleUnavailableError:
            levels = len(read_info(path).get("scales", []))
            raise ConfigError.one(
                self.path, "mip", f"{mip} does not exist", f"the volume has mips 0 to {levels - 1}"
            ) from None
        _check_encoding(self.path, self._volume.encoding)
        self._fill_missing, self._compress = fill_missing, compress
        self.bounds = _to_box(self._volume.bounds)
        self.block_size = Vec3.of(int(n) for n in self._volume.underlying[::-1])
        self.lossless = self._volume.encoding in _LOSSLESS
        self.dtype = np.dtype(self._volume.dtype)
        self.channels = int(self._volume.num_channels)
        z, y, x = (float(n) for n in self._volume.resolution[::-1])
        self.voxel_size: VoxelSize = (z, y, x)
        self.layer_type: LayerType = (
            "segmentation" if self._volume.layer_type == "segmentation" else "image"
        )

    def read(self, bbox: BoundingBox) -> NDArray[Any]:
        if not self.bounds.contains(bbox):
            raise BoxOutsideVolume(f"box {bbox} is not inside {self.path}, which is {self.bounds}")
        if self.path.startswith("mem://") and not self._fill_missing:
            self._refuse_missing(bbox)  # CloudVolume reads absent blocks of memory volumes as zeros
        try:
            with self._errors():
                xyzc = np.asarray(self._volume.download(_to_bbox(bbox)))
        except (ValueError, IndexError, EOFError) as error:  # no gzip data, or too few voxels
            raise BlockDamaged(
                f"{self.path}: a block of {bbox} can't be decoded: {error}"
            ) from None
        except DataMissing:
            if not self.missing(bbox):  # a file that is there and holds nothing passes for none
                raise BlockDamaged(
                    f"{self.path}: a block of {bbox} can't be decoded: it is empty"
                ) from None
            raise
        czyx = np.ascontiguousarray(xyzc.transpose())
        return czyx[0] if self.channels == 1 else czyx

    def write(self, bbox: BoundingBox, array: NDArray[Any]) -> None:
        czyx = array if array.ndim == 4 else array[np.newaxis]
        if czyx.shape != (self.channels, *bbox.size):
            raise ChunkMismatch(
                f"{self.path} takes {self.channels} channels of {list(bbox.size)}, and got {list(czyx.shape)}"
            )
        if self._is_sharded:
            cure = "write to a volume of blocks, and pack it in shards when all is done"
            raise ConfigError.one(
                self.path,
                "sharding",
                "a shard holds blocks of many tasks, and none can write it alone",
                cure,
            )
        check_aligned(self, bbox)
        with self._errors(), self._whole_files() as volume:
            volume[_to_bbox(bbox)] = czyx.transpose()
        self._remove_twins(bbox)

    @contextmanager
    def _whole_files(self) -> Iterator[Any]:
        """The volume to write to. On a local disk, where a kill or a full disk would leave half a file that passes for a block,
        it is one beside it, and its files take their places when the block ends. Object stores keep whole objects only.
        """
        if self._local is None:
            yield self._volume
            return
        folder = self._local / f".{uuid.uuid4().hex}.part"
        try:
            yield self._open(f"file://{folder}", info=self._volume.info)
            blocks = self._local / self._volume.key
            blocks.mkdir(parents=True, exist_ok=True)
            for file in (folder / self._volume.key).iterdir():
                file.replace(blocks / file.name)
        finally:
            rmtree(folder, ignore_errors=True)

    def _remove_twins(self, bbox: BoundingBox) -> None:
        """What is left of a local block that was written before with gzip and now without, or the other way round."""
        if self._local is not None:
            for block in blocks_of(self, bbox):
                plain = self._local / self.block_name(block)
                packed = plain.with_name(f"{plain.name}.gz")
                if not self._compress:
                    packed.unlink(missing_ok=True)
                elif packed.exists():
                    plain.unlink(missing_ok=True)

    def missing(self, bbox: BoundingBox) -> list[str]:
        with self._errors():
            found: dict[str, bool] = (
                self._in_shards(bbox) if self._is_sharded else self._volume.exists(_to_bbox(bbox))
            )
        return sorted(name for name, there in found.items() if not there)

    @property
    def _is_sharded(self) -> bool:
        return bool(self._volume.scale.get("sharding"))

    def _in_shards(self, bbox: BoundingBox) -> dict[str, bool]:
        """Whether the shards' indices have the blocks that a box touches, by the names that their files would have."""
        from cloudvolume.datasource.precomputed.common import compressed_morton_code

        blocks = list(blocks_of(self, bbox))
        places = np.array(
            [((block.start - self.bounds.start) // self.block_size)[::-1] for block in blocks]
        )
        grid = -(-self.bounds.size // self.block_size)
        codes = [
            int(code) for code in compressed_morton_code(places, np.array(grid[::-1], np.uint32))
        ]
        shards = self._volume.image.shard_reader(self.mip).exists(codes, self._volume.key)
        return {
            self.block_name(block): bool(shards.get(code))
            for block, code in zip(blocks, codes, strict=True)
        }

    def stored(self, bbox: BoundingBox) -> dict[str, datetime | None]:
        """When each block of a box of whole blocks was written, by its name; None for those that are not stored."""
        from cloudfiles import CloudFiles

        names = [self.block_name(block) for block in blocks_of(self, bbox)]
        with self._errors():
            heads = CloudFiles(self.path, progress=False, num_threads=8).head(names)
        return {name: _written(heads.get(name)) for name in names}

    def block_name(self, block: BoundingBox) -> str:
        """Name of a block's file below the volume's path."""
        return f"{self._volume.key}/{'_'.join(f'{a}-{b}' for a, b in zip(block.start[::-1], block.stop[::-1], strict=True))}"

    def _refuse_missing(self, bbox: BoundingBox) -> None:
        missing = self.missing(bbox)
        if missing:
            raise DataMissing(
                f"{self.path} lacks {len(missing)} blocks of box {bbox}, for example {missing[0]}"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
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


def _check_encoding(path: str, encoding: str) -> None:
    """Raises ConfigError when blocks of the encoding can't be read here."""
    if encoding == "npz_uint8":
        raise ConfigError.one(
            path,
            "encoding",
            "npz_uint8 can be written by CloudVolume, and read by nothing",
            "for example npz",
        )
    if encoding in _CODECS:
        needs(_CODECS[encoding], extra="codecs")


def read_info(path: str) -> dict[str, Any]:
    """The volume's info file. Raises ConfigError when there is none."""
    info = Files(path).get_json("info")
    if not isinstance(info, dict) or not info.get("scales"):
        raise ConfigError.one(normal_path(path), "info", "there is no precomputed volume here")
    return info


def volume_bounds(path: str, mip: int = 0) -> BoundingBox:
    """The volume's box at a mip, from its info file alone."""
    return volume_level(path, mip).bounds


@dataclass(frozen=True)
class Level:
    """Where the blocks of a mip level lie, as `Blocks` has it."""

    path: str
    bounds: BoundingBox
    block_size: Vec3


def volume_level(path: str, mip: int = 0) -> Level:
    """A mip level, from the volume's info file alone. Raises ConfigError when there is none, and StorageUnavailable."""
    scales = read_info(path)["scales"]
    if not 0 <= mip < len(scales):
        raise ConfigError.one(
            normal_path(path),
            "mip",
            f"{mip} does not exist",
            f"the volume has mips 0 to {len(scales) - 1}",
        )
    scale = scales[mip]
    bounds = BoundingBox.sized(scale.get("voxel_offset", [0, 0, 0])[::-1], scale["size"][::-1])
    return Level(normal_path(path), bounds, Vec3.of(scale["chunk_sizes"][0][::-1]))


def create_volume(
    path: str,
    *,
    bounds: BoundingBox,
    voxel_size: VoxelSize,
    block_size: Vec3,
    dtype: str,
    channels: int = 1,
    layer_type: LayerType = "image",
    encoding: str = "raw",
    factor: Vec3 = Vec3(1, 2, 2),
    max_mip: int = 0,
    overwrite: bool = False,
) -> None:
    """Write the info file of a new volume with mips 0 to `max_mip`, each coarser by `factor`; no voxels yet.

    overwrite: take the place of another volume's info file; its voxels stay.
    Raises ConfigError when another volume lies there already, unless `overwrite`, and when format or encoding lack the type.
    """
    if dtype not in _DTYPES:
        raise ConfigError.one(
            normal_path(path),
            "data_type",
            f"the format has no {dtype}",
            f"legal: {', '.join(_DTYPES)}",
        )
    _check_encoding(normal_path(path), encoding)
    if dtype not in _TAKES.get(encoding, _DTYPES) or (
        encoding == "jpeg" and channels not in (1, 3)
    ):
        legal = f"it takes {' and '.join(_TAKES.get(encoding, _DTYPES))}" + (
            " of 1 or 3 channels" if encoding == "jpeg" else ""
        )
        raise ConfigError.one(
            normal_path(path),
            "encoding",
            f"{encoding} does not take {channels} channels of {dtype}",
            legal,
        )
    prepare_environment()
    from cloudvolume import CloudVolume

    z, y, x = (
        int(n) if n == int(n) else n for n in voxel_size
    )  # as others write them, and name folders by them
    info = CloudVolume.create_new_info(
        num_channels=channels,
        layer_type=layer_type,
        data_type=dtype,
        encoding=encoding,
        resolution=[x, y, z],
        voxel_offset=list(bounds.start[::-1]),
        volume_size=list(bounds.size[::-1]),
        chunk_size=list(block_size[::-1]),
    )
    with storage_errors(path):
        existing = Files(path).get_json("info")
        volume = CloudVolume(normal_path(path), info=info, progress=False)
        for mip in range(1, max_mip + 1):
            step = factor.power(mip)
            scale = volume.add_scale(
                list(step[::-1]), encoding=encoding, chunk_size=list(block_size[::-1])
            )
            scale["size"] = list(
                bounds.downsample(step).size[::-1]
            )  # CloudVolume's is too small where the start is no multiple
        if existing is not None and not overwrite:
            if any(
                existing.get(key) != volume.info[key]
                for key in ("scales", "data_type", "num_channels")
            ):
                raise ConfigError.one(
                    normal_path(path),
                    "info",
                    "another volume lies here already",
                    "choose another path, or delete it first",
                )
            return
        volume.commit_info()


def _written(head: dict[str, Any] | None) -> datetime | None:
    if head is None:
        return None
    when: datetime = head["Last-Modified"]
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _to_box(bbox: Any) -> BoundingBox:
    return BoundingBox(
        Vec3.of(int(n) for n in bbox.minpt[::-1]), Vec3.of(int(n) for n in bbox.maxpt[::-1])
    )


def _to_bbox(box: BoundingBox) -> Any:
    from cloudvolume.lib import Bbox

    return Bbox(box.start[::-1], box.stop[::-1])
