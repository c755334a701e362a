"""What programs other than those of OME say of an array, in its attributes or its groups'.

`transform` is COSEM's, `pixelResolution` and `downsamplingFactors` are those of n5-viewer and
BigDataViewer, `resolution` and `offset` those of Paintera, funlib and CloudVolume-like tools, and
`dimension_units` those of tensorstore and chunkflow 1.2.0. Lists of N5 viewers are x, y, z; others
are in the order of the array's axes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from chunkflow_worker.volumes.zarr.geometry import (
    About,
    Geometry,
    Ignored,
    Order,
    axis_names,
    by_axis,
    is_number,
    measured,
    numbers_by_axis,
    placed_axes,
    times,
    unnamed_axes,
)
from chunkflow_worker.volumes.zarr.metadata import StoredArray
from chunkflow_worker.volumes.zarr.ome import NO_VOXEL_SIZE, datasets_of, listed_as, multiscales

_WITH_UNIT = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)?\s*(.*?)\s*")
_LEVEL = re.compile(r"(?:.*/)?s?(\d{1,2})")
_IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
_IN_BIGDATAVIEWER = re.compile(r"(?:.*/)?setup\d+/timepoint\d+/s\d+")


@dataclass(frozen=True)
class _Said:
    """Sizes and position by axis, in units that are named by axis."""

    scale: Mapping[str, float]
    translation: Mapping[str, float]
    units: Mapping[str, Any]
    unit_expected: bool = False


def from_attributes(array: StoredArray, order: Order) -> Geometry:
    """The geometry of an array that no OME-Zarr multiscale describes."""
    axes, is_named, notes = _axes(array, order)
    transforms = _transforms(array)
    if transforms:
        geometry = _geometry(axes, transforms[0])
        if len(transforms) > 1:  # of the finest level
            geometry = geometry.without_shift(_geometry(axes, transforms[1]))
    else:
        said, guessed = _of_array(array, axes) or _of_group(array, axes)
        geometry = _geometry(axes, said)
        notes += guessed
    notes += [*geometry.ignored, *_ignored(array, axes)]
    voxels = numbers_by_axis(axes, array.attributes.get("voxel_offset"))
    if voxels and not geometry.translation:
        at = {axis: start * geometry.scale.get(axis, 1.0) for axis, start in voxels.items()}
        geometry = replace(geometry, translation=at)
    return replace(geometry, ignored=tuple(notes), is_named=is_named)


def _geometry(axes: tuple[str, ...], said: _Said) -> Geometry:
    return measured(
        axes, said.scale, said.translation, said.units, unit_expected=said.unit_expected
    )


def _axes(array: StoredArray, order: Order) -> tuple[tuple[str, ...], bool, list[Ignored]]:
    """The axes as the array or its group names them, else in the usual order of the format.

    Also returns whether one of them says which axis is which.
    """
    types = array.attributes.get("types")
    kinds = types if isinstance(types, list) and len(types) == array.dimensions else []
    for names in _named(array):
        if len(names) == array.dimensions == len(set(names)):
            pairs = zip(names, kinds or [""] * len(names), strict=True)
            plain = axis_names((name, str(kind)) for name, kind in pairs)
            axes, notes = placed_axes(plain, order=order, n5=array.is_n5)
            return axes, axes == plain or array.is_n5, notes
    is_ome = _listed(array) is not None  # 0.1 and 0.2 have one order
    axes = unnamed_axes(array.dimensions, order=order, n5=array.is_n5)
    return axes, array.is_n5 or is_ome, []


def _named(array: StoredArray) -> Iterator[list[str]]:
    """Names of the axes, from all places that may hold them, the likeliest first."""
    own = array.attributes
    for names in (
        own.get("axes"),
        array.content.get("dimension_names"),
        own.get("_ARRAY_DIMENSIONS"),
        own.get("axis_names"),
        _axes_of_transform(array),
        *(group.attributes.get("axes") for group in array.groups if array.is_n5),
    ):
        texts = list(names) if isinstance(names, str | list) else []
        texts = [axis.get("name") if isinstance(axis, dict) else axis for axis in texts]
        if texts and all(isinstance(text, str) for text in texts):
            yield texts


def _axes_of_transform(array: StoredArray) -> list[Any]:
    """The axes of COSEM's transform in the array's order; the transform says in which it lists."""
    transform = array.attributes.get("transform")
    axes = transform.get("axes") if isinstance(transform, dict) else None
    if not isinstance(transform, dict) or not isinstance(axes, list):
        return []
    fastest_first = "F" in (transform.get("ordering"), transform.get("order"))
    return axes if fastest_first == array.is_n5 else axes[::-1]


def _listed(array: StoredArray) -> tuple[dict[str, Any], int] | None:
    """The multiscale of a group that lists the array, and its level there."""
    listed = (listed_as(group.attributes, group.name) for group in array.groups)
    return next(filter(None, listed), None)


def _transforms(array: StoredArray) -> list[_Said]:
    """COSEM's transform of the array, and that of the finest level if the group has both."""
    own, listed = _said(array.attributes.get("transform")), _listed(array)
    scales, level = listed or ({}, 0)
    known = [_said(dataset.get("transform")) for dataset in datasets_of(scales)]
    transform = own or (known[level] if known else None)
    if transform is None:
        return []
    return [transform, known[0]] if known and known[0] is not None else [transform]


def _said(transform: Any) -> _Said | None:
    named = transform.get("axes") if isinstance(transform, dict) else None
    names = axis_names((str(name), "") for name in named) if isinstance(named, list) else ()
    scale = numbers_by_axis(names, transform.get("scale")) if names else {}
    if not scale:
        return None
    translation = numbers_by_axis(names, transform.get("translate"))
    return _Said(scale, translation, by_axis(names, transform.get("units")), unit_expected=True)


def _of_array(array: StoredArray, axes: tuple[str, ...]) -> tuple[_Said, list[Ignored]] | None:
    """What the array says of itself. A factor of downsampling applies to its sizes."""
    said = _sizes(array.attributes, array, axes) or _dimension_units(array.attributes, axes)
    if said is None:
        return None
    return _enlarged(said, _factors(array.attributes.get("downsamplingFactors"), array, axes)), []


def _enlarged(said: _Said, factors: Mapping[str, float]) -> _Said:
    return replace(said, scale=times(said.scale, factors))


def _sizes(
    attributes: Mapping[str, Any], array: StoredArray, axes: tuple[str, ...]
) -> _Said | None:
    """From `resolution` or `voxel_size`, else from `pixelResolution`; None without any of them."""
    offset, units = _offset(attributes, axes)
    for name in ("resolution", "voxel_size"):
        scale = numbers_by_axis(axes, attributes.get(name))
        if scale:
            return _Said(scale, offset, units)
    pixels = attributes.get("pixelResolution")
    unit = pixels.get("unit") if isinstance(pixels, dict) else None
    listed = pixels.get("dimensions") if isinstance(pixels, dict) else pixels
    scale = _factors(listed, array, axes)
    units = dict.fromkeys(axes, unit) if unit else units
    return _Said(scale, offset, units, unit_expected=True) if scale else None


def _offset(
    attributes: Mapping[str, Any], axes: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Position by axis, and the units of position and size."""
    units = attributes.get("units") or attributes.get("unit")
    by_name = dict.fromkeys(axes, units) if isinstance(units, str) else by_axis(axes, units)
    return numbers_by_axis(axes, attributes.get("offset")), by_name


def _factors(listed: Any, array: StoredArray, axes: tuple[str, ...]) -> dict[str, float]:
    """Numbers that N5 viewers list for x, y and z, or for all axes, the fastest first; by axis."""
    fastest_first = axes if array.is_n5 else axes[::-1]
    if not isinstance(listed, list) or not listed or not all(map(is_number, listed)):
        return {}
    spatial = tuple(axis for axis in "xyz" if axis in axes)
    for names in (spatial, fastest_first):
        if len(names) == len(listed):
            return {name: float(number) for name, number in zip(names, listed, strict=True)}
    return {}


def _dimension_units(attributes: Mapping[str, Any], axes: tuple[str, ...]) -> _Said | None:
    """From texts such as "40 nm", one for each axis."""
    scale, units = dict[str, float](), dict[str, str]()
    for axis, text in by_axis(axes, attributes.get("dimension_units")).items():
        match = _WITH_UNIT.fullmatch(text) if isinstance(text, str) else None
        with suppress(ValueError):  # of a number such as 1.2.3
            if match is not None:
                scale[axis], units[axis] = float(match[1] or 1), match[2]
    return _Said(scale, {}, units, unit_expected=True) if scale else None


def _of_group(array: StoredArray, axes: tuple[str, ...]) -> tuple[_Said, list[Ignored]]:
    """What the nearest group says of its finest level, for the level of this array."""
    sizes = (_sizes(group.attributes, array, axes) for group in array.groups)
    said = next(filter(None, sizes), None)
    if said is None:
        offset, units = _offset(array.attributes, axes)
        return _Said({}, offset, units), _without_size(array)
    match = _LEVEL.fullmatch(array.place)
    level = int(match[1]) if match else 0
    factors = _factors(array.attributes.get("downsamplingFactors"), array, axes)
    for group in array.groups:
        for name in ("downsamplingFactors", "scales"):
            listed = group.attributes.get(name)
            if not factors and isinstance(listed, list) and len(listed) > level:
                factors = _factors(listed[level], array, axes)
    if factors or not level:
        return _enlarged(said, factors), []
    text = f"its downsampling is not stored, and is taken as {2**level}, as n5-viewer does"
    guessed = dict.fromkeys("xyz", 2.0**level)
    return _enlarged(said, guessed), [Ignored(("voxel size",), text)]


def _without_size(array: StoredArray) -> list[Ignored]:
    """What to say of an array without a voxel size that seems to be a level of a pyramid."""
    text = "it has downsamplingFactors but no voxel size, and 1 is used"
    if _listed(array):
        return [NO_VOXEL_SIZE]
    if any(multiscales(group.attributes) for group in array.groups[:1]):
        text = "the multiscales of its group do not list it, and a voxel size of 1 is used"
    elif _IN_BIGDATAVIEWER.fullmatch(array.place):
        text = "BigDataViewer keeps the voxel size in an XML file, which is not read, and 1 is used"
    elif "downsamplingFactors" not in array.attributes:
        return []
    return [Ignored(("voxel size",), text)]


def _ignored(array: StoredArray, axes: tuple[str, ...]) -> list[Ignored]:
    """Further attributes that are seen, and have no effect."""
    notes, own = [], array.attributes
    lists = {"resolution": "voxel size", "voxel_size": "voxel size", "offset": "position"}
    for name, about in {**lists, "voxel_offset": "position"}.items():
        if own.get(name) is not None and not numbers_by_axis(axes, own[name]):
            text = f"its attribute {name} is not a list of one number for each axis"
            notes.append(Ignored((cast(About, about),), text))
    pixels = own.get("pixelResolution")
    listed = pixels.get("dimensions") if isinstance(pixels, dict) else pixels
    if pixels is not None and not _factors(listed, array, axes):
        text = "its attribute pixelResolution is not a list of one number for x, y and z"
        notes.append(Ignored(("voxel size",), text))
    factors = own.get("downsamplingFactors")
    if factors is not None and not _factors(factors, array, axes):
        text = "its attribute downsamplingFactors is not a list of one number for x, y and z"
        notes.append(Ignored(("voxel size",), text))
    transform = own.get("transform")
    if transform is not None and _said(transform) is None:
        notes.append(Ignored(("voxel size", "position"), "its attribute transform is not COSEM's"))
    for attributes in (own, *(group.attributes for group in array.groups)):
        if attributes.get("affineTransform") not in (None, _IDENTITY):
            text = "its affineTransform is not applied"
            return [*notes, Ignored(("voxel size", "position"), text)]
    return notes
