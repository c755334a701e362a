"""`open_volume`: a stored image of any format, by its address.

An address names its format as Neuroglancer and TensorStore do, before the path (zarr3://s3://lab/em)
or after it (s3://lab/em|zarr3:); otherwise, what lies at the path tells it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.facts import GRAPHENE, PRECOMPUTED
from chunkflow_worker.errors import ConfigError, StorageRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.path import named_format, normal_path, public_path
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.info import find_info, level_of, scale_of
from chunkflow_worker.volumes.volume import Blocks, CheckedVolume


def open_volume(
    address: str,
    mip: int = 0,
    *,
    fill_missing: bool = False,
    use_https: bool = False,
    output: bool = False,
    compression: Compression = Compression(),
    agglomerate: datetime | None = None,
) -> CheckedVolume:
    """One level of a stored image.

    mip: 0 is the finest level.
    fill_missing: read blocks that are not stored as zeros, or as the fill value of a Zarr array;
        otherwise they are an error.
    use_https: read an object store through its public https links, without credentials.
    output: the chain writes the volume; the error for an absent one then says how to create it.
    compression: see `PrecomputedVolume`.
    agglomerate: read the ids of the objects of a graphene volume as they were at this time, in
        place of those of its supervoxels.
    Raises ConfigError when there is no such volume or level, or when what describes it is wrong,
    ChunkMismatch when its voxels are no chunk, and StorageUnavailable.
    """
    from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

    if named_format(address) == GRAPHENE:
        from chunkflow_worker.volumes.precomputed.graphene import open_graphene

        return open_graphene(normal_path(address), mip, fill_missing, use_https, agglomerate)
    if agglomerate is not None:
        problem = "only volumes of graphene have objects that change with time"
        raise ConfigError.one(normal_path(address), "agglomerate", problem, "leave it out")
    info = find_info_at(address, use_https)
    if info is None:
        return _open_array(address, mip, fill_missing, use_https, output)
    return PrecomputedVolume(
        address,
        mip,
        fill_missing,
        use_https,
        compression,
        info=scale_of(info, address, mip)[0],
    )


def volume_level(
    address: str, mip: int = 0, *, use_https: bool = False, output: bool = False
) -> Blocks:
    """The bounds and blocks of a level, from what describes it. Raises as `open_volume` does."""
    info = find_info_at(address, use_https)
    if info is None:
        return _open_array(address, mip, False, use_https, output)
    return level_of(address, scale_of(info, address, mip)[1])


def volume_bounds(address: str, mip: int = 0, *, use_https: bool = False) -> BoundingBox:
    """The box of a level. Raises as `open_volume` does."""
    return volume_level(address, mip, use_https=use_https).bounds


def find_info_at(address: str, use_https: bool = False) -> dict[str, Any] | None:
    """The info of a precomputed volume; None if there is none, or another format is named.

    Raises StorageRefused and StorageUnavailable, and ConfigError for an info that is wrong.
    """
    name = named_format(address)
    if name == GRAPHENE:
        from chunkflow_worker.volumes.precomputed.graphene import graphene_info

        return graphene_info(normal_path(address))
    if name not in (None, PRECOMPUTED):
        return None
    place = public_path(address) if use_https else address
    try:
        return find_info(place)
    except StorageRefused as refusal:
        # To users who may not list a bucket, S3 refuses what is absent.
        is_answer = hasattr(refusal.__cause__, "response")  # and no lack of credentials
        if name or not is_answer or not _is_array(place):
            raise
        return None


def _is_array(path: str) -> bool:
    """Whether there is an image in Zarr or N5, as far as this user can see."""
    with suppress(ConfigError, StorageUnavailable):
        from chunkflow_worker.volumes.zarr.address import ALL
        from chunkflow_worker.volumes.zarr.group import find_array

        return find_array(normal_path(path), ALL) is not None
    return False


def _open_array(
    address: str, mip: int, fill_missing: bool, use_https: bool, output: bool
) -> CheckedVolume:
    """A level of an image in Zarr or N5. Raises ConfigError if there is none."""
    name, found = named_format(address), None
    if name != PRECOMPUTED:
        from chunkflow_worker.volumes.zarr.volume import open_to_write, open_zarr

        place = public_path(address) if use_https else normal_path(address)
        where = f"{name}://{place}" if name else place
        if output:
            found = open_to_write(where, mip)
        else:
            found = open_zarr(where, mip=mip, fill_missing=fill_missing)
    if found is None:
        raise no_volume(address, output)
    return found


def no_volume(address: str, output: bool) -> ConfigError:
    """The error for a volume that does not exist: the chain writes it, or only reads it."""
    name = named_format(address)
    problem = f"there is no {name} volume here" if name else "there is no volume here"
    create = f"create it first, with: chunkflow {operator_with('creates')} (--help shows how)"
    cure = create if output else "check the path"
    return ConfigError.one(normal_path(address), "path", problem, cure)
