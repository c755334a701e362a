"""`create_volume`: a new stored image of any format, by its address."""

from __future__ import annotations

from chunkflow_worker.config.facts import PRECOMPUTED
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.storage.path import named_format, normal_path
from chunkflow_worker.volumes.precomputed import info

_SUFFIXES = {".zarr": "zarr", ".n5": "n5"}


def format_to_create(address: str) -> str:
    """The format that an address names, or that the end of its path tells; else precomputed."""
    path = normal_path(address)
    told = (name for suffix, name in _SUFFIXES.items() if path.endswith(suffix))
    return named_format(address) or next(told, PRECOMPUTED)


def create_volume(
    address: str,
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
    """Write what describes a new volume; no voxels yet.

    Does nothing when the same volume exists already, except that it gets the mip levels it lacks.

    bounds, voxel_size: of mip 0; nanometres, zyx.
    encoding: of precomputed volumes; arrays of Zarr and N5 are raw and compressed.
    shard_size: store the blocks in shards of so many voxels at each level. `zarr` is Zarr 3 then,
        and Zarr 2 without.
    factor: how many times as large a voxel of each further mip is.
    max_mip: the last mip level.
    overwrite: replace what describes another precomputed volume, whose voxels remain.
    Raises ConfigError when another volume exists, or when the format does not have what is asked
    for; StorageUnavailable.
    """
    name = format_to_create(address)
    if name == PRECOMPUTED:
        info.create_volume(
            address,
            bounds=bounds,
            voxel_size=voxel_size,
            block_size=block_size,
            dtype=dtype,
            channels=channels,
            layer_type=layer_type,
            encoding=encoding,
            shard_size=shard_size,
            factor=factor,
            max_mip=max_mip,
            overwrite=overwrite,
        )
        return
    if encoding != "raw":
        problem = f"{encoding} is an encoding of precomputed volumes, and this is one of {name}"
        raise ConfigError.one(normal_path(address), "encoding", problem, "leave it out")
    from chunkflow_worker.volumes.zarr.address import FORMATS
    from chunkflow_worker.volumes.zarr.create import create_zarr

    drivers = FORMATS[name]
    for mip in range(max_mip + 1):
        step = factor.power(mip)
        z, y, x = (size * n for size, n in zip(voxel_size, step, strict=True))
        create_zarr(
            address,
            mip,
            driver="zarr3" if shard_size and "zarr3" in drivers else drivers[-1],
            bounds=bounds.downsample(step),
            voxel_size=(z, y, x),
            block_size=block_size,
            dtype=dtype,
            channels=channels if channels > 1 else 0,
            layer_type=layer_type,
            shard_size=shard_size,
        )
