"""What Zarr 2, Zarr 3, N5 and OME-Zarr store about an array besides its voxels. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chunkflow_worker.image.chunk import LayerType, VoxelSize

Driver = Literal["zarr", "zarr3", "n5"]
"""The format, in tensorstore's words."""
Order = Literal["zyx", "xyz"]

ARRAY_FILE: dict[Driver, str] = {"zarr": ".zarray", "zarr3": "zarr.json", "n5": "attributes.json"}
GROUP_FILE: dict[Driver, str] = {"zarr": ".zattrs", "zarr3": "zarr.json", "n5": "attributes.json"}
NOT_IN_N5 = ("bool", "float16")
SPATIAL = ("z", "y", "x")
_N5_AXES = ("x", "y", "z", "c")  # in N5 the first axis is the fastest, and readers expect x there
_NANOMETRES = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "um": 1e3,
    "µm": 1e3,
    "millimeter": 1e6,
    "mm": 1e6,
    "meter": 1e9,
    "m": 1e9,
}


@dataclass(frozen=True)
class Geometry:
    """The axes of an array, and its position and voxel size in nanometres.

    axes: names of the axes, in the array's order.
    scale: size of a voxel by axis; 1 for an axis that is left out.
    translation: position of the first voxel by axis; 0 for an axis that is left out.
    """

    axes: tuple[str, ...]
    scale: Mapping[str, float]
    translation: Mapping[str, float]

    @property
    def scales(self) -> list[float]:
        """Size of a voxel along each axis, in their order."""
        return [self.scale.get(axis, 1.0) for axis in self.axes]

    @property
    def translations(self) -> list[float]:
        """Position of the first voxel along each axis, in their order."""
        return [self.translation.get(axis, 0.0) for axis in self.axes]

    def with_voxel_size(self, voxel_size: VoxelSize) -> Geometry:
        """The same array with voxels of another size, zyx; it starts at the same voxel."""
        scale = dict(zip(SPATIAL, voxel_size, strict=True))
        starts = {n: self.translation.get(n, 0.0) / self.scale.get(n, 1.0) for n in SPATIAL}
        return Geometry(self.axes, scale, {n: starts[n] * scale[n] for n in SPATIAL})


def level_name(driver: Driver, mip: int) -> str:
    """Name of a mip level's array in its group."""
    return f"s{mip}" if driver == "n5" else str(mip)


def new_axes(driver: Driver, channels: int, order: Order) -> tuple[str, ...]:
    """Names of the axes of a new array, with c for channels when there are any."""
    if driver == "n5":
        return _N5_AXES if channels else _N5_AXES[:3]
    return (*(("c",) if channels else ()), *order)


def array_metadata(
    driver: Driver,
    geometry: Geometry,
    shape: list[int],
    chunks: list[int],
    dtype: np.dtype[Any],
    layer_type: LayerType,
) -> dict[str, Any]:
    """The metadata of a new array.

    shape, chunks: sizes of the array and of its blocks in voxels, in the order of the axes.
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
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "data_type": dtype.name,
            "fill_value": zero,
            "codecs": codecs,
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
    """The geometry of a stored array.

    It comes from the group's multiscales when they list the array, else from its own attributes.

    stored: content of the array's ARRAY_FILE.
    attributes, group: attributes of the array and of its group.
    name: of the array in its group.
    order: of the spatial axes when the store does not name them.
    """
    for scales in multiscales(group):
        for dataset in scales.get("datasets", []):
            if dataset.get("path") == name and scales.get("axes"):
                return _from_multiscales(scales, dataset)
    return _from_attributes(driver, stored, attributes, order)


def _from_multiscales(scales: Mapping[str, Any], dataset: Mapping[str, Any]) -> Geometry:
    """From OME-Zarr, whose transformations apply to the dataset first, then to all datasets."""
    # OME-Zarr 0.3 lists the names of the axes only.
    listed = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales["axes"]]
    axes = tuple(str(axis["name"]).lower() for axis in listed)
    steps = [
        *dataset.get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ]
    scale, translation = np.ones(len(axes)), np.zeros(len(axes))
    for step in steps:
        if step.get("type") == "scale":
            scale, translation = scale * step["scale"], translation * step["scale"]
        elif step.get("type") == "translation":
            translation = translation + step["translation"]
    units = np.array([_NANOMETRES.get(axis.get("unit", ""), 1.0) for axis in listed])
    return Geometry(
        axes,
        dict(zip(axes, (scale * units).tolist(), strict=True)),
        dict(zip(axes, (translation * units).tolist(), strict=True)),
    )


def _from_attributes(
    driver: Driver,
    stored: Mapping[str, Any],
    attributes: Mapping[str, Any],
    order: Order | None,
) -> Geometry:
    """From what N5, CloudVolume-like tools and xarray write beside an array."""
    dimensions = len(stored["dimensions"] if driver == "n5" else stored["shape"])
    axes = _named_axes(stored, attributes, dimensions)
    if axes is None:
        unnamed = ("c", *(order or "zyx"))
        axes = _N5_AXES[:dimensions] if driver == "n5" else unnamed[-dimensions:]
    scale = _in_nanometres(axes, attributes, "resolution", "voxel_size")
    scale = scale or _pixel_resolution(attributes)
    translation = _in_nanometres(axes, attributes, "offset")
    if not translation:
        offset = _by_axis(axes, attributes.get("voxel_offset"))
        translation = {axis: voxels * scale.get(axis, 1.0) for axis, voxels in offset.items()}
    return Geometry(axes, scale, translation)


def _named_axes(
    stored: Mapping[str, Any], attributes: Mapping[str, Any], dimensions: int
) -> tuple[str, ...] | None:
    """Names of the axes as the store gives them; None when it does not name each of them."""
    names = (
        attributes.get("axes")
        or stored.get("dimension_names")
        or attributes.get("_ARRAY_DIMENSIONS")
    )
    if not isinstance(names, list) or len(names) != dimensions:
        return None
    return tuple(n.lower() for n in names) if all(isinstance(n, str) for n in names) else None


def _by_axis(axes: tuple[str, ...], numbers: Any) -> dict[str, float]:
    """Numbers for all axes, or for the spatial ones, by axis; nothing for other contents."""
    spatial = tuple(axis for axis in axes if axis in SPATIAL)
    if not isinstance(numbers, list) or len(numbers) not in (len(axes), len(spatial)):
        return {}
    names = axes if len(numbers) == len(axes) else spatial
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}


def _in_nanometres(
    axes: tuple[str, ...], attributes: Mapping[str, Any], *names: str
) -> dict[str, float]:
    """The first of these attributes that is set, by axis; its unit is nanometres by default."""
    numbers = next(filter(None, map(attributes.get, names)), None)
    units = attributes.get("units")
    unit_of: dict[str, Any] = {}
    if isinstance(units, list) and len(units) == len(axes):
        unit_of = dict(zip(axes, units, strict=True))
    return {
        axis: number * _NANOMETRES.get(str(unit_of.get(axis)), 1.0)
        for axis, number in _by_axis(axes, numbers).items()
    }


def _pixel_resolution(attributes: Mapping[str, Any]) -> dict[str, float]:
    """The voxel size in the attribute of N5 viewers, which is x, y, z."""
    pixels = attributes.get("pixelResolution")
    if not isinstance(pixels, dict) or len(pixels.get("dimensions", [])) != 3:
        return {}
    unit = _NANOMETRES.get(pixels.get("unit", ""), 1.0)
    return {n: float(size) * unit for n, size in zip("xyz", pixels["dimensions"], strict=True)}


def multiscales(group: Mapping[str, Any]) -> list[Any]:
    """OME-Zarr's list of multiscales in the attributes of a group; empty when there is none."""
    ome = group.get("ome")
    scales = (ome if isinstance(ome, dict) else group).get("multiscales")
    return scales if isinstance(scales, list) else []


def is_array(stored: Any, driver: Driver) -> bool:
    """Whether this content of an ARRAY_FILE describes an array, and not a group."""
    if not isinstance(stored, dict):
        return False
    if driver == "n5":
        return "dimensions" in stored
    return stored.get("node_type", "array") == "array" and "shape" in stored
