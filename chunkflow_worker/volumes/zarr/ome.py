"""What OME-Zarr says of an array in the attributes of its group: versions 0.1 to 0.5."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.volumes.zarr.geometry import (
    Geometry,
    Ignored,
    Order,
    axis_names,
    measured,
    numbers_by_axis,
    placed_axes,
)

NO_VOXEL_SIZE = Ignored(("voxel size",), "its OME-Zarr metadata has no voxel size, and 1 is used")


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a group's attributes that is OME-Zarr's; since version 0.5 it has its own key."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def multiscales(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The multiscales in the attributes of a group that list arrays; often none or one."""
    listed = ome_attributes(attributes).get("multiscales")
    scales = listed if isinstance(listed, list) else []
    return [s for s in scales if isinstance(s, dict) and datasets_of(s)]


def datasets_of(scales: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arrays that one multiscale lists, the finest first."""
    listed = scales.get("datasets")
    datasets = listed if isinstance(listed, list) else []
    return [d for d in datasets if isinstance(d, dict) and isinstance(d.get("path"), str)]


def path_in_group(path: str) -> str:
    """One form of the path of an array or group below its group."""
    return posixpath.normpath(path.strip("/") or ".")


def name_below(path: str) -> str | None:
    """The path of an array or group below its group; None if it is not below."""
    name = path_in_group(path)
    return None if name.startswith(".") or "\0" in name else name


def listed_as(attributes: Mapping[str, Any], name: str) -> tuple[dict[str, Any], int] | None:
    """The multiscale of a group that lists the array `name`, and its level there."""
    for scales in multiscales(attributes):
        for level, dataset in enumerate(datasets_of(scales)):
            if path_in_group(dataset["path"]) == path_in_group(name):
                return scales, level
    return None


def from_multiscale(
    place: str, scales: Mapping[str, Any], level: int, *, order: Order, n5: bool
) -> Geometry | None:
    """The geometry of a level of a multiscale; None if it does not name its axes (0.1 and 0.2).

    place: of the array, for errors.
    Raises ConfigError for OME-Zarr 0.6, which is a draft.
    """
    if "axes" not in scales and "coordinateSystems" in scales:
        problem = "OME-Zarr 0.6 is a draft, and can't be read"
        raise ConfigError.one(place, "multiscales", problem, "store it as OME-Zarr 0.4 or 0.5")
    if not isinstance(scales.get("axes"), list):
        return None
    geometry = _level(scales, level, order=order, n5=n5)
    return geometry.without_shift(_level(scales, 0, order=order, n5=n5))


def _level(scales: Mapping[str, Any], level: int, *, order: Order, n5: bool) -> Geometry:
    # OME-Zarr 0.3 lists the names of the axes only.
    listed = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales["axes"]]
    axes = axis_names((str(axis.get("name")), str(axis.get("type", ""))) for axis in listed)
    axes, notes = placed_axes(axes, order=order, n5=False)
    units = {name: axis.get("unit") for name, axis in zip(axes, listed, strict=True)}
    # A transformation of the dataset is applied first, then the one of all datasets.
    steps: list[Any] = []
    for owner in (datasets_of(scales)[level], scales):
        found = owner.get("coordinateTransformations")
        steps += found if isinstance(found, list) else []
    scale, translation, ignored = _combined(axes, steps)
    if not scale and not ignored:
        notes.append(NO_VOXEL_SIZE)
    if n5 and axes[-1:] == ("x",):  # listed as in Zarr, but an N5 array has its fastest axis first
        axes = axes[::-1]
    found = measured(axes, scale, translation, units, unit_expected=bool(scale))
    return replace(found, ignored=(*notes, *found.ignored, *ignored))


def _combined(
    axes: tuple[str, ...], steps: list[Any]
) -> tuple[dict[str, float], dict[str, float], list[Ignored]]:
    """Scale and translation of all steps, in the units of the axes; no scale if none is stored."""
    scale, translation, ignored = dict[str, float](), dict.fromkeys(axes, 0.0), []
    for step in steps:
        kind = step.get("type") if isinstance(step, dict) else None
        numbers = numbers_by_axis(axes, step.get(kind)) if kind in ("scale", "translation") else {}
        if kind == "scale" and numbers:
            scale = {axis: scale.get(axis, 1.0) * numbers.get(axis, 1.0) for axis in axes}
            translation = {axis: translation[axis] * numbers.get(axis, 1.0) for axis in axes}
        elif kind == "translation" and numbers:
            translation = {axis: translation[axis] + numbers.get(axis, 0.0) for axis in axes}
        elif kind != "identity":
            ignored.append(str(kind))
    if not ignored:
        return scale, translation, []
    text = f"its transformation {', '.join(ignored)} is not applied"
    return scale, translation, [Ignored(("voxel size", "position"), text)]
