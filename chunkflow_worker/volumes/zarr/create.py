"""`create_zarr`: a new array in a group, with the metadata of OME-Zarr.

Several workers may create the same array at once. Each step is a write that fails when another
worker was faster, and all of them write the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_worker.errors import BlockDamaged, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType, VoxelSize
from chunkflow_worker.storage.path import writable_path
from chunkflow_worker.volumes.zarr.geometry import (
    SPATIAL,
    Geometry,
    Order,
    is_number,
    is_whole,
)
from chunkflow_worker.volumes.zarr.metadata import (
    ARRAY_FILE,
    GROUP_FILE,
    Driver,
    array_or_group,
    group_attributes,
)
from chunkflow_worker.volumes.zarr.new import NOT_IN_N5, array_metadata, level_name, new_axes
from chunkflow_worker.volumes.zarr.ome import datasets_of, multiscales
from chunkflow_worker.volumes.zarr.store import (
    delete,
    open_array,
    read_json,
    store_errors,
    write_if_absent,
    write_json,
)
from chunkflow_worker.volumes.zarr.volume import ZarrVolume, open_level


def create_zarr(
    path: str,
    mip: int = 0,
    *,
    driver: Driver,
    bounds: BoundingBox,
    voxel_size: VoxelSize,
    block_size: Vec3,
    dtype: str,
    channels: int = 0,
    layer_type: LayerType = "image",
    order: Order | None = None,
    shard_size: Vec3 | None = None,
) -> ZarrVolume:
    """Create the array of one mip level in a group and list it in the group; no voxels yet.

    bounds, voxel_size: of this level; nanometres, zyx.
    channels: 0 for an array without an axis for channels.
    order: of the spatial axes; None: that of the group's other levels, zyx if there are none. N5
        always has xyz.
    shard_size: store the blocks in shards of so many voxels, which Zarr 3 has.
    Raises ConfigError when another array exists there, or the format does not support the type or
    the shards; StorageUnavailable.
    """
    root, name = writable_path(path), level_name(driver, mip)
    if driver == "n5" and dtype in NOT_IN_N5:
        cure = "give another one, or choose Zarr"
        raise ConfigError.one(root, "dtype", f"N5 has no {dtype}", cure)
    _check_formats(root, name, driver)
    axes = new_axes(driver, channels, order or _order_of(root, driver))
    scale = dict(zip(SPATIAL, voxel_size, strict=True))
    start = dict(zip(SPATIAL, bounds.start, strict=True))
    geometry = Geometry(axes, scale, {axis: scale[axis] * start[axis] for axis in SPATIAL})
    sizes = {"c": channels, **dict(zip(SPATIAL, bounds.size, strict=True))}
    block = block_size if shard_size else block_size.min(bounds.size)
    if shard_size is not None:
        _check_shards(root, driver, shard_size, block)
    metadata = array_metadata(
        driver,
        geometry,
        [sizes[axis] for axis in axes],
        _along(axes, block),
        np.dtype(dtype),
        layer_type,
        shard_size and _along(axes, shard_size),
    )

    _create_group(root, driver)
    if driver != "n5":
        labels = layer_type == "segmentation" and np.dtype(dtype).kind in "ui"
        _list_in_group(root, driver, name, geometry, layer_type, labels)
    if driver == "zarr":
        write_if_absent(f"{root}/{name}", ".zattrs", {"_ARRAY_DIMENSIONS": list(axes)})
    try:
        with store_errors(root):
            open_array(f"{root}/{name}", driver, create=True, metadata=metadata)
    except BlockDamaged as error:  # an array with other metadata exists
        raise _another(root, name, str(error).removeprefix(f"{root}: ")) from None
    return _open_created(root, name, driver, bounds, voxel_size)


def _along(axes: Sequence[str], size: Vec3) -> list[int]:
    """The size along each axis of an array; 1 along one of channels."""
    by_axis = dict(zip(SPATIAL, size, strict=True))
    return [by_axis.get(axis, 1) for axis in axes]


def _check_shards(root: str, driver: Driver, shard: Vec3, block: Vec3) -> None:
    """Raises ConfigError unless the format has shards, and they consist of whole blocks."""
    if driver != "zarr3":
        cure = f"choose zarr3: zarr3://{root}"
        raise ConfigError.one(root, "shard_size", f"the format {driver} has no shards", cure)
    if any(shard % block):
        problem = f"{list(shard)} is not made of whole blocks of {list(block)}"
        nearest = (shard // block).max(Vec3(1, 1, 1)) * block
        cure = f"for example {' '.join(map(str, nearest))}"
        raise ConfigError.one(root, "shard_size", problem, cure)


def _open_created(
    root: str, name: str, driver: Driver, bounds: BoundingBox, voxel_size: VoxelSize
) -> ZarrVolume:
    volume = open_level(root, name, driver)
    if volume is None:
        raise _another(root, name, "it can't be opened")
    if (volume.bounds, volume.voxel_size) != (bounds, voxel_size):
        raise _another(root, name, f"it is {volume.bounds} of {volume.voxel_size} nm")
    return volume


def _check_formats(root: str, name: str, driver: Driver) -> None:
    """Raises ConfigError if there is an array or a group of another format."""
    for place in (f"{root}/{name}", root):
        for other in ARRAY_FILE:
            if other != driver and array_or_group(place, other) is not None:
                what = f"it is of the format {other}"
                cure = f"choose another path, or --driver {other}"
                raise _another(root, name if place != root else "", what, cure)


def _order_of(root: str, driver: Driver) -> Order:
    """The order of the spatial axes of the levels that a group lists; zyx if there are none."""
    scales = multiscales(group_attributes(root, driver) or {})
    listed = scales[0].get("axes", []) if scales else []
    names = "".join(
        str(axis.get("name")) if isinstance(axis, dict) else str(axis) for axis in listed
    )
    return "xyz" if names.lower().endswith("xyz") else "zyx"


def _create_group(root: str, driver: Driver) -> None:
    if driver == "n5":
        write_if_absent(root, "attributes.json", {"n5": "4.0.0"})
    elif driver == "zarr":
        write_if_absent(root, ".zgroup", {"zarr_format": 2})


def _list_in_group(
    root: str,
    driver: Driver,
    name: str,
    geometry: Geometry,
    layer_type: LayerType,
    labels: bool,
) -> None:
    """Add an array to the multiscales of a Zarr group, which others may change at the same time.

    Consolidated metadata, a copy that would hide the new array from other programs, is deleted.
    labels: the group becomes a label image of OME-Zarr, whose voxels are integers.
    """
    added = False
    while not added:
        content, generation = read_json(root, GROUP_FILE[driver])
        group: dict[str, Any] = content if isinstance(content, dict) else {}
        if driver == "zarr3":
            group = {"zarr_format": 3, "node_type": "group"} | group
        if group.get("node_type") == "array":
            raise _another(root, "", "it is an array itself")
        attributes = group.setdefault("attributes", {}) if driver == "zarr3" else group
        if not isinstance(attributes, dict):
            raise _another(root, "", "its attributes are no JSON object")
        if not _add_dataset(attributes, root, driver, name, geometry):
            return
        group.pop("consolidated_metadata", None)
        attributes.setdefault("layer_type", layer_type)
        if labels and driver == "zarr3":
            attributes["ome"].setdefault("image-label", {"version": "0.5"})
        elif labels:
            attributes.setdefault("image-label", {"version": "0.4"})
        added = write_json(root, GROUP_FILE[driver], group, generation)
    if driver == "zarr":
        delete(root, ".zmetadata")


def _add_dataset(
    attributes: dict[str, Any], root: str, driver: Driver, name: str, geometry: Geometry
) -> bool:
    """Add an array to the multiscales in a group's attributes; returns False when it is listed.

    Raises ConfigError when the group has other axes, lists another array by this name, or is not an
    image of OME-Zarr 0.4 or 0.5.
    """
    axes = [_ome_axis(axis) for axis in geometry.axes]
    ome, version = attributes, {"version": "0.4"}
    if driver == "zarr3":  # OME-Zarr 0.5 keeps its version beside the multiscales
        ome, version = attributes.setdefault("ome", {"version": "0.5"}), {}
    new = {**version, "name": root.rsplit("/", 1)[-1], "axes": axes, "datasets": []}
    if not isinstance(ome, dict) or not _is_image(ome):
        raise _another(root, "", "its group is not that of an image of OME-Zarr 0.4 or 0.5")
    ome["multiscales"] = ome.get("multiscales") or [new]
    multiscale = ome["multiscales"][0]
    if multiscale["axes"] != axes:
        theirs, ours = _described(multiscale["axes"]), _described(axes)
        raise _another(root, name, f"its axes are {theirs}, and those of the new array {ours}")
    by_corners = _dataset(name, geometry, geometry.scales)  # as earlier versions listed it
    listed = sorted(multiscale["datasets"], key=_spatial_scale)
    dataset = _dataset(name, geometry, _scales(listed[0])) if listed else by_corners
    for existing in listed:
        if existing["path"] == name:
            if existing not in (dataset, by_corners):
                steps = json.dumps(existing["coordinateTransformations"])
                raise _another(root, name, f"its multiscales list it with {steps}")
            return False
        if _spatial_scale(existing) == _spatial_scale(dataset) and not existing["path"].isdigit():
            # Readers would take that one for the image, and not the new one.
            cure = f"write to {root}/{existing['path']}, or choose another path"
            raise _another(root, name, "of the same voxel size, " + existing["path"], cure)
    # The finest comes first.
    if listed and _spatial_scale(dataset) < _spatial_scale(listed[0]):
        listed = [_moved(each, _scales(listed[0]), geometry.scales) for each in listed]
        dataset = by_corners
    multiscale["datasets"] = sorted([*listed, dataset], key=_spatial_scale)
    return True


def _dataset(name: str, geometry: Geometry, finest: list[float]) -> dict[str, Any]:
    """What multiscales list of an array. finest: size of a voxel of the finest level, by axis.

    A translation is the place of the centre of the first voxel, and the centre of the finest one
    counts as its corner: so that of a coarse one lies between fine ones.
    """
    places = zip(geometry.translations, geometry.scales, finest, strict=True)
    translation = [at + max(0.0, size - fine) / 2 for at, size, fine in places]
    scale = {"type": "scale", "scale": geometry.scales}
    steps = [scale, {"type": "translation", "translation": translation}]
    return {"path": name, "coordinateTransformations": steps}


def _moved(dataset: dict[str, Any], before: list[float], finest: list[float]) -> dict[str, Any]:
    """A dataset when a finer level is listed; one that another program placed stays as it is.

    before, finest: size of a voxel of the finest level until now, and of the new one.
    """
    steps = dataset["coordinateTransformations"]
    places = steps[1].get("translation") if len(steps) == 2 else None
    sizes = _scales(dataset)
    if not isinstance(places, list) or not len(places) == len(sizes) == len(before):
        return dataset
    axes = list(zip(places, sizes, before, finest, strict=True))
    if not all(is_whole((at - (size - old) / 2) / size) for at, size, old, _ in axes):
        return dataset
    moved = [at + (old - new) / 2 for at, _, old, new in axes]
    return dataset | {"coordinateTransformations": [steps[0], steps[1] | {"translation": moved}]}


def _is_image(ome: dict[str, Any]) -> bool:
    """Whether a group can list arrays: it has no multiscales yet, or those of OME-Zarr 0.4 or 0.5.

    A group of several images can't.
    """
    listed = ome.get("multiscales")
    if not listed:
        return not any(key in ome for key in ("plate", "well", "labels", "bioformats2raw.layout"))
    first = listed[0] if isinstance(listed, list) else None
    if not isinstance(first, dict) or not isinstance(first.get("axes"), list):
        return False
    datasets = datasets_of(first)
    return datasets == first.get("datasets") and all(map(_spatial_scale, datasets))


def _described(axes: list[Any]) -> str:
    """Axes of OME-Zarr in words, for example "c, z in nanometer"."""
    listed = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    return ", ".join(
        f"{axis.get('name')} in {axis['unit']}" if axis.get("unit") else str(axis.get("name"))
        for axis in listed
    )


def _ome_axis(axis: str) -> dict[str, str]:
    if axis == "c":
        return {"name": axis, "type": "channel"}
    return {"name": axis, "type": "space", "unit": "nanometer"}


def _scales(dataset: dict[str, Any]) -> list[float]:
    """Size of a voxel of a listed array along each axis; empty if it is not listed with it."""
    steps = dataset.get("coordinateTransformations")
    first = steps[0] if isinstance(steps, list) and steps else None
    scale = first.get("scale") if isinstance(first, dict) else None
    return scale if isinstance(scale, list) and all(map(is_number, scale)) else []


def _spatial_scale(dataset: dict[str, Any]) -> list[float]:
    """The same along z, y and x."""
    return _scales(dataset)[-3:]


def _another(root: str, name: str, what: str, cure: str = "choose another path") -> ConfigError:
    where = f"array {name}" if name else "store"
    problem = f"another one already exists here: {what}"
    return ConfigError.one(root, where, problem, cure)
