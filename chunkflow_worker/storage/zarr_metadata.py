"""What Zarr 2, Zarr 3, N5 and OME-Zarr say of an array beside its voxels. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chunkflow_worker.image.chunk import LayerType

Driver = Literal["zarr", "zarr3", "n5"]
Order = Literal["zyx", "xyz"]

ARRAY_FILE: dict[Driver, str] = {"zarr": ".zarray", "zarr3": "zarr.json", "n5": "attributes.json"}
GROUP_FILE: dict[Driver, str] = {"zarr": ".zattrs", "zarr3": "zarr.json", "n5": "attributes.json"}
NOT_IN_N5 = ("bool", "float16")
_NANOMETRES = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "um": 1e3,
    "millimeter": 1e6,
    "mm": 1e6,
}
_NANOMETRES |= {"µm": 1e3, "meter": 1e9, "m": 1e9}


@dataclass(frozen=True)
class Geometry:
    """Names of an array's axes, in its own order; size of a voxel and place of the first one in nanometres, by axis."""

    axes: tuple[str, ...]
    scale: Mapping[str, float]
    translation: Mapping[str, float]


def level_name(driver: Driver, mip: int) -> str:
    """Name of a mip level's array in its group."""
    return f"s{mip}" if driver == "n5" else str(mip)


def array_metadata(
    driver: Driver,
    geometry: Geometry,
    shape: list[int],
    chunks: list[int],
    dtype: np.dtype[Any],
    layer_type: LayerType,
) -> dict[str, Any]:
    """What the format writes of a new array. shape, chunks: in voxels, in the order of the geometry's axes."""
    blosc = {"cname": "zstd", "clevel": 3}
    if driver == "zarr":
        return {
            "shape": shape,
            "chunks": chunks,
            "dtype": dtype.newbyteorder("<").str,
            "fill_value": 0 if dtype.kind != "b" else False,
            "compressor": {"id": "blosc", **blosc, "shuffle": 1, "blocksize": 0},
            "dimension_separator": "/",
        }
    if driver == "zarr3":
        packed = {
            "name": "blosc",
            "configuration": {
                **blosc,
                "shuffle": "shuffle",
                "typesize": dtype.itemsize,
                "blocksize": 0,
            },
        }
        return {
            "shape": shape,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "data_type": dtype.name,
            "fill_value": 0 if dtype.kind != "b" else False,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, packed],
            "dimension_names": list(geometry.axes),
        }
    return {
        "dimensions": shape,
        "blockSize": chunks,
        "dataType": dtype.name,
        "compression": {"type": "gzip", "level": 3},
        "axes": list(geometry.axes),
        "units": ["nm" if n != "c" else "" for n in geometry.axes],
        "resolution": [geometry.scale.get(n, 1.0) for n in geometry.axes],
        "offset": [geometry.translation.get(n, 0.0) for n in geometry.axes],
        "pixelResolution": {"unit": "nm", "dimensions": [geometry.scale[n] for n in "xyz"]},
        "layer_type": layer_type,
    }


def geometry_of(
    driver: Driver,
    stored: Mapping[str, Any],
    attributes: Mapping[str, Any],
    group: Mapping[str, Any],
    name: str,
    order: Order | None,
) -> Geometry:
    """From the group's multiscales where they tell of the array, else from what is written beside the array."""
    dimensions = len(stored["dimensions"] if driver == "n5" else stored["shape"])
    unnamed = (
        ("c", *(order or "zyx"))[-dimensions:]
        if driver != "n5"
        else ("x", "y", "z", "c")[:dimensions]
    )
    for scales in multiscales(group):
        for dataset in scales.get("datasets", []):
            if dataset.get("path") == name and scales.get("axes"):
                return _from_multiscales(scales, dataset)
    told = (
        attributes.get("axes")
        or stored.get("dimension_names")
        or attributes.get("_ARRAY_DIMENSIONS")
    )
    named = (
        isinstance(told, list) and len(told) == dimensions and all(isinstance(n, str) for n in told)
    )
    axes = tuple(n.lower() for n in told) if told and named else unnamed
    spatial = [n for n in axes if n in ("z", "y", "x")]

    def by_axis(numbers: Any) -> dict[str, float]:
        if not isinstance(numbers, list) or len(numbers) not in (len(axes), len(spatial)):
            return {}
        return {
            n: float(v)
            for n, v in zip(axes if len(numbers) == len(axes) else spatial, numbers, strict=True)
        }

    def in_nanometres(numbers: Any) -> dict[str, float]:
        units = attributes.get("units")
        named = (
            dict(zip(axes, units, strict=True))
            if isinstance(units, list) and len(units) == len(axes)
            else {}
        )
        return {n: v * _NANOMETRES.get(str(named.get(n)), 1.0) for n, v in by_axis(numbers).items()}

    scale = in_nanometres(attributes.get("resolution") or attributes.get("voxel_size"))
    pixels = attributes.get("pixelResolution")
    if not scale and isinstance(pixels, dict) and len(pixels.get("dimensions", [])) == 3:
        unit = _NANOMETRES.get(pixels.get("unit", ""), 1.0)
        scale = {n: float(v) * unit for n, v in zip("xyz", pixels["dimensions"], strict=True)}
    voxels = {n: v * scale.get(n, 1.0) for n, v in by_axis(attributes.get("voxel_offset")).items()}
    return Geometry(axes, scale, in_nanometres(attributes.get("offset")) or voxels)


def _from_multiscales(scales: Mapping[str, Any], dataset: Mapping[str, Any]) -> Geometry:
    told = [
        axis if isinstance(axis, dict) else {"name": axis} for axis in scales["axes"]
    ]  # OME-Zarr 0.3 has names alone
    axes = tuple(str(axis["name"]).lower() for axis in told)
    scale, translation = np.ones(len(axes)), np.zeros(len(axes))
    for step in [
        *dataset.get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ]:
        if step.get("type") == "scale":
            scale, translation = scale * step["scale"], translation * step["scale"]
        elif step.get("type") == "translation":
            translation = translation + step["translation"]
    units = [_NANOMETRES.get(axis.get("unit", ""), 1.0) for axis in told]
    return Geometry(
        axes,
        {n: float(s * u) for n, s, u in zip(axes, scale, units, strict=True)},
        {n: float(t * u) for n, t, u in zip(axes, translation, units, strict=True)},
    )


def multiscales(group: Mapping[str, Any]) -> list[Any]:
    """OME-Zarr's list in the attributes of a group; empty when there is none."""
    inner = group.get("ome")
    found = (inner if isinstance(inner, dict) else group).get("multiscales")
    return found if isinstance(found, list) else []


def is_array(stored: Any, driver: Driver) -> bool:
    """Whether this content of an ARRAY_FILE is of an array, and not of a group."""
    if not isinstance(stored, dict):
        return False
    return (
        "dimensions" in stored
        if driver == "n5"
        else stored.get("node_type", "array") == "array" and "shape" in stored
    )
