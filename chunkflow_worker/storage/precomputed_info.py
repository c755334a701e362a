"""The info file of a precomputed volume: read, and written for a new volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path, writable_path
from chunkflow_worker.storage.precomputed_encoding import check_readable, check_type
from chunkflow_worker.storage.precomputed_reading import normal_scale, parse_info


@dataclass(frozen=True)
class Level:
    """The blocks of a mip level; see `Blocks`."""

    path: str
    bounds: BoundingBox
    block_size: Vec3


def read_info(path: str) -> dict[str, Any]:
    """The content of a volume's info file, in its normal form but for the scales.

    Raises ConfigError when there is no volume or its info is wrong, and StorageUnavailable.
    """
    files = Files(path)
    content = files.get("info")
    if content is None:
        cure = "check the path; a new volume is created with: chunkflow " + operator_with("creates")
        raise ConfigError.one(files.path, "info", "there is no precomputed volume here", cure)
    return parse_info(content, f"{files.path}/info")


def read_scale(path: str, mip: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of a volume's info file, and the part of it that describes a mip level.

    That part is in its normal form.
    Raises ConfigError when there is no such volume or mip level, or when what describes them is
    wrong, and StorageUnavailable.
    """
    info = read_info(path)
    scales = info["scales"]
    if not 0 <= mip < len(scales):
        raise no_such_mip(path, mip, len(scales))
    scales[mip] = normal_scale(scales[mip], f"{normal_path(path)}/info", mip)
    return info, scales[mip]


def no_such_mip(path: str, mip: int, levels: int) -> ConfigError:
    """The error for a mip level that a volume of so many `levels` does not have."""
    cure = f"the volume has mips 0 to {levels - 1}"
    return ConfigError.one(normal_path(path), "mip", f"{mip} does not exist", cure)


def volume_bounds(path: str, mip: int = 0) -> BoundingBox:
    """The box of a volume at a mip level. Raises the errors of `read_scale`."""
    return volume_level(path, mip).bounds


def volume_level(path: str, mip: int = 0) -> Level:
    """The bounds and blocks of a mip level. Raises the errors of `read_scale`."""
    _, scale = read_scale(path, mip)
    bounds = BoundingBox.sized(scale["voxel_offset"][::-1], scale["size"][::-1])
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
    """Write the info file of a new volume; no voxels yet.

    Does nothing when the same volume exists already.

    bounds, voxel_size: of mip 0; nanometres, zyx.
    factor: how many times as large a voxel of each further mip is.
    max_mip: the last mip level.
    overwrite: replace the info file of another volume, whose voxels remain.
    Raises ConfigError when another volume exists and is not overwritten, or when the format or
    the encoding does not support the type; StorageUnavailable.
    """
    check_type(writable_path(path), encoding, dtype, channels)
    check_readable(normal_path(path), encoding)
    from cloudvolume import CloudVolume

    # Other tools write whole numbers as integers, and the names of folders follow from them.
    z, y, x = (int(n) if n == int(n) else n for n in voxel_size)
    block = list(block_size[::-1])
    info = CloudVolume.create_new_info(
        num_channels=channels,
        layer_type=layer_type,
        data_type=dtype,
        encoding=encoding,
        resolution=[x, y, z],
        voxel_offset=list(bounds.start[::-1]),
        volume_size=list(bounds.size[::-1]),
        chunk_size=block,
    )
    with storage_errors(path):
        existing = Files(path).get("info")
        volume = cloud_volume(normal_path(path), info=info)
        for mip in range(1, max_mip + 1):
            step = factor.power(mip)
            scale = volume.add_scale(list(step[::-1]), encoding=encoding, chunk_size=block)
            # The size that CloudVolume gives is too small when the start is no multiple of it.
            scale["size"] = list(bounds.downsample(step).size[::-1])
        if existing is None or overwrite:
            volume.commit_info()
        elif not _same_voxels(_normal(existing, path), volume.info):
            raise ConfigError.one(
                normal_path(path),
                "info",
                "another volume already exists here",
                "choose another path, or delete it first",
            )


def _normal(content: bytes, path: str) -> dict[str, Any]:
    place = f"{normal_path(path)}/info"
    info = parse_info(content, place)
    scales = [normal_scale(scale, place, mip) for mip, scale in enumerate(info["scales"])]
    return info | {"scales": scales}


def _same_voxels(existing: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(existing.get(key) == new[key] for key in ("scales", "data_type", "num_channels"))
