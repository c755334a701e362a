"""The metadata of a new array: its axes, its codecs, and its name in the group. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_worker.image.chunk import LayerType
from chunkflow_worker.volumes.zarr.geometry import N5_AXES, Geometry, Order
from chunkflow_worker.volumes.zarr.metadata import Driver

NOT_IN_N5 = ("bool", "float16")


def level_name(driver: Driver, mip: int) -> str:
    """Name of a mip level's array in its group."""
    return f"s{mip}" if driver == "n5" else str(mip)


def new_axes(driver: Driver, channels: int, order: Order) -> tuple[str, ...]:
    """Names of the axes of a new array, with c for channels when there are any."""
    if driver == "n5":
        return N5_AXES[:4] if channels else N5_AXES[:3]
    return (*(("c",) if channels else ()), *order)


def array_metadata(
    driver: Driver,
    geometry: Geometry,
    shape: list[int],
    chunks: list[int],
    dtype: np.dtype[Any],
    layer_type: LayerType,
    shards: list[int] | None = None,
) -> dict[str, Any]:
    """The metadata of a new array.

    shape, chunks, shards: sizes of the array, of its blocks and of the shards that hold them, if
        any, in voxels, in the order of the axes.
    """
    zero = False if dtype.kind == "b" else 0
    blosc = {"cname": "zstd", "clevel": 3}
    if driver == "zarr":
        return {
            "shape": shape,
            "chunks": chunks,
            "dtype": dtype.newbyteorder("<").str,
            "fill_value": zero,
            "compressor": {"id": "blosc", **blosc, "shuffle": 1, "blocksize": 0},
            "dimension_separator": "/",
        }
    if driver == "zarr3":
        compression = {
            **blosc,
            "shuffle": "shuffle",
            "typesize": dtype.itemsize,
            "blocksize": 0,
        }
        codecs = [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": compression},
        ]
        return {
            "shape": shape,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shards or chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "data_type": dtype.name,
            "fill_value": zero,
            "codecs": [_sharding(chunks, codecs)] if shards else codecs,
            "dimension_names": list(geometry.axes),
        }
    return {
        "dimensions": shape,
        "blockSize": chunks,
        "dataType": dtype.name,
        "compression": {"type": "gzip", "level": 3},
        "axes": list(geometry.axes),
        "units": ["" if axis == "c" else "nm" for axis in geometry.axes],
        "resolution": geometry.scales,
        "offset": geometry.translations,
        # For Fiji, which takes s1 for half the resolution of s0 unless told.
        "pixelResolution": {"unit": "nm", "dimensions": geometry.scales},
        "downsamplingFactors": [1] * len(geometry.axes),
        "layer_type": layer_type,
    }


def _sharding(chunks: list[int], codecs: list[dict[str, Any]]) -> dict[str, Any]:
    """The codec of Zarr 3 that packs blocks into shards. codecs: of the blocks."""
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    configuration = {
        "chunk_shape": chunks,
        "codecs": codecs,
        "index_codecs": index,
        "index_location": "end",
    }
    return {"name": "sharding_indexed", "configuration": configuration}
