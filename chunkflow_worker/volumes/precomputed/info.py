"""The info file of a precomputed volume: read, and written for a new volume."""

from __future__ import annotations

import logging
from typing import Any

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import ConfigError, Mistake
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path, writable_path
from chunkflow_worker.volumes.precomputed.encoding import check_readable, check_type
from chunkflow_worker.volumes.precomputed.reading import normal_scale, parse_info
from chunkflow_worker.volumes.precomputed.shards import (
    blocks_of_shard,
    coarser_sharding,
    sharding_of,
)
from chunkflow_worker.volumes.volume import Level, no_such_mip

log = logging.getLogger(__name__)

_TOLD_FIRST = ("resolution", "size", "voxel_offset", "chunk_sizes", "encoding")
"""The keys of a level that its other keys follow from."""


def find_info(path: str) -> dict[str, Any] | None:
    """The content of a volume's info file, with its scales as they are; None if there is none.

    Raises ConfigError when it is wrong, and StorageUnavailable.
    """
    content = Files(path).get("info")
    return None if content is None else parse_info(content, _place(path))


def read_info(path: str, output: bool = False) -> dict[str, Any]:
    """The content of a volume's info file in its normal form; a scale that is wrong stays so.

    output: the chain writes the volume; the error for an absent one then says how to create it.
    Raises ConfigError when there is no volume or its info is wrong, and StorageUnavailable.
    """
    return normal_info(_read(path, output), path)


def _stored(path: str) -> dict[str, Any] | None:
    """The same; None when there is no info."""
    content = find_info(path)
    return None if content is None else normal_info(content, path)


def _read(path: str, output: bool) -> dict[str, Any]:
    """The same, with its scales as they are."""
    content = find_info(path)
    if content is None:
        problem = "there is no precomputed volume here"
        create = f"create it first, with: chunkflow {operator_with('creates')} (--help shows how)"
        cure = create if output else "check the path"
        raise ConfigError.one(normal_path(path), "info", problem, cure)
    return content


def _place(path: str) -> str:
    return f"{normal_path(path)}/info"


def normal_info(info: dict[str, Any], path: str) -> dict[str, Any]:
    """An info with all its scales in their normal form, except those that are wrong."""
    scales = []
    for mip, scale in enumerate(info["scales"]):
        try:
            scales.append(normal_scale(scale, _place(path), mip, quiet=True))
        except ConfigError:
            scales.append(scale)
    return info | {"scales": scales}


def scale_of(info: dict[str, Any], path: str, mip: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The normal form of an info, and the part of it that describes a mip level.

    info: as `find_info` returns it.
    Raises ConfigError when there is no such mip level, or when what describes it is wrong.
    """
    scales = info["scales"]
    if not 0 <= mip < len(scales):
        raise no_such_mip(normal_path(path), mip, len(scales))
    scale = normal_scale(scales[mip], _place(path), mip)
    info = normal_info(info, path)
    info["scales"][mip] = scale
    return info, scale


def read_scale(path: str, mip: int, output: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """`scale_of` a volume's stored info. Raises the errors of `read_info` and `scale_of`."""
    return scale_of(_read(path, output), path, mip)


def level_of(path: str, scale: dict[str, Any]) -> Level:
    """The bounds and blocks of a mip level, from its part of the info in its normal form.

    Its blocks are the shards, if a task can write them whole.
    """
    bounds = BoundingBox.sized(scale["voxel_offset"][::-1], scale["size"][::-1])
    chunk = block = Vec3.of(scale["chunk_sizes"][0][::-1])
    if scale.get("sharding"):
        in_shard = blocks_of_shard(scale["sharding"], -(-bounds.size // chunk))
        block = chunk * (in_shard or 1)
    z, y, x = map(float, scale["resolution"][::-1])
    return Level(normal_path(path), bounds, block, chunk, (z, y, x))


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
    shard_size: Vec3 | None = None,
    factor: Vec3 = Vec3(1, 2, 2),
    max_mip: int = 0,
    overwrite: bool = False,
) -> None:
    """Write the info file of a new volume; no voxels yet.

    Does nothing when the same volume exists already, except that it gets the mip levels it lacks.

    bounds, voxel_size: of mip 0; nanometres, zyx.
    shard_size: store the blocks in shards of so many voxels at each level.
    factor: how many times as large a voxel of each further mip is.
    max_mip: the last mip level.
    overwrite: replace the info file of another volume, whose voxels remain.
    Raises ConfigError when another volume exists and is not overwritten, when the format or the
    encoding does not support the type, or when no shard is of that size; StorageUnavailable.
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
        existing = _stored(path)
        volume = cloud_volume(normal_path(path), info=info)
        for mip in range(1, max_mip + 1):
            step = factor.power(mip)
            scale = volume.add_scale(list(step[::-1]), encoding=encoding, chunk_size=block)
            # The size that CloudVolume gives is too small when the start is no multiple of it.
            scale["size"] = list(bounds.downsample(step).size[::-1])
        if shard_size is not None:
            for scale in volume.info["scales"]:
                scale["sharding"] = _sharding(path, scale, shard_size)
        if existing is None or overwrite:
            volume.commit_info()
        elif other := _difference(existing, volume.info):
            raise ConfigError.one(
                normal_path(path),
                "info",
                f"another volume already exists here: {other}",
                "choose another path, or give what the existing volume has",
            )
        elif len(existing["scales"]) < len(volume.info["scales"]):
            add_mips(path, volume.info)


def _sharding(path: str, scale: dict[str, Any], shard_size: Vec3) -> dict[str, Any]:
    """How a level is stored in shards. Raises ConfigError."""
    block = Vec3.of(scale["chunk_sizes"][0][::-1])
    try:
        return sharding_of(shard_size, block, _grid(scale), scale["encoding"])
    except Mistake as mistake:
        raise mistake.at("shard_size", path) from None


def _coarser_sharding(
    fine: dict[str, Any], coarse: dict[str, Any], factor: Vec3
) -> dict[str, Any] | None:
    """How a level that is added is stored in shards; None if it is not."""
    if not fine.get("sharding"):
        return None
    return coarser_sharding(fine["sharding"], _grid(fine), _grid(coarse), factor, fine["encoding"])


def _grid(scale: dict[str, Any]) -> Vec3:
    """Number of blocks of a level along each axis."""
    return -(-Vec3.of(scale["size"][::-1]) // Vec3.of(scale["chunk_sizes"][0][::-1]))


def with_mips(info: dict[str, Any], factor: Vec3, last: int) -> dict[str, Any]:
    """`info` with all mip levels up to `last`.

    Each that it lacks is coarser by `factor` than the one before, and stored in the same way. In
    shards, these are such that boxes of whole shards of the last level that exists fill them.
    """
    scales, last_stored = list(info["scales"]), len(info["scales"]) - 1
    while len(scales) <= last:
        fine = scales[-1]
        offset, size = fine.get("voxel_offset", [0, 0, 0]), fine["size"]
        box = BoundingBox.sized(offset[::-1], size[::-1]).downsample(factor)
        resolution = [n * f for n, f in zip(fine["resolution"], factor[::-1], strict=True)]
        kept = {key: value for key, value in fine.items() if key not in ("sharding", "locked")}
        scale = kept | {
            "key": "_".join(map(str, resolution)),
            "resolution": resolution,
            "size": list(box.size[::-1]),
            "voxel_offset": list(box.start[::-1]),
        }
        step = factor.power(len(scales) - last_stored)
        if sharding := _coarser_sharding(scales[last_stored], scale, step):
            scale["sharding"] = sharding
        scales.append(scale)
    return info | {"scales": scales}


def add_mips(path: str, info: dict[str, Any]) -> None:
    """Add the mip levels of `info` that a volume lacks; all else in the stored info stays.

    Several processes may do so at the same time.
    Raises ConfigError when the volume has other levels by now, and StorageUnavailable.
    """
    stored = _read(path, output=True)
    have, wanted = normal_info(stored, path)["scales"], info["scales"]
    if have[: len(wanted)] == wanted:
        return
    if have != wanted[: len(have)]:
        problem = f"its levels are not those that mips {len(have)} to {len(wanted) - 1} follow on"
        raise ConfigError.one(normal_path(path), "info", problem, "start again")
    scales = stored["scales"] + wanted[len(have) :]
    Files(path).put_info(Files(path).get_json("info") | {"scales": scales})
    first, last = len(have), len(wanted) - 1
    added = f"mip {last}" if first == last else f"mips {first} to {last}"
    warn_once(log, f"{normal_path(path)}: the info gets {added}")


def _difference(existing: dict[str, Any], new: dict[str, Any]) -> str:
    """What an existing volume has, unlike a new one; one of them may have further mip levels."""
    for key in ("data_type", "num_channels"):
        if existing.get(key) != new[key]:
            return f"its {key} is {existing.get(key)}, not {new[key]}"
    for mip, (have, wanted) in enumerate(zip(existing["scales"], new["scales"], strict=False)):
        for key in (*_TOLD_FIRST, *sorted({*have, *wanted})):
            if have.get(key) != wanted.get(key):
                return f"its {key} at mip {mip} is {have.get(key)}, not {wanted.get(key)}"
    return ""
