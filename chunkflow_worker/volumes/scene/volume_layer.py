"""`volume_layer`: the layer of a stored volume, with the meshes and skeletons that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chunkflow_worker.config.facts import GRAPHENE
from chunkflow_worker.storage.path import named_format, normal_path
from chunkflow_worker.volumes.open_volume import find_info_at
from chunkflow_worker.volumes.scene.layers import Kind, Shown, SourceOf, segmentation_layer
from chunkflow_worker.volumes.scene.page import metres
from chunkflow_worker.volumes.scene.sample import Sample, sample_of
from chunkflow_worker.volumes.scene.shading import Look, shading_of
from chunkflow_worker.volumes.volume import CheckedVolume

if TYPE_CHECKING:
    from chunkflow_worker.volumes.zarr.volume import ZarrVolume

_CHOSEN = 12  # objects whose meshes a page loads at first


def volume_layer(
    address: str, name: str, source_of: SourceOf, kind: Kind | None = None, over: bool = False
) -> Shown | None:
    """The layer of a volume; None if no browser reads it.

    kind: overrides what the volume says.
    over: another volume lies below, so that an image is shown as a map.
    Raises as `open_volume` does, and DataMissing or BlockDamaged for voxels that can't be read.
    """
    sample = sample_of(address)
    volume = sample.volume
    is_told = kind is not None
    if kind is None:
        is_map = over and volume.layer_type == "image" and volume.channels != 3
        kind = "map" if is_map else volume.layer_type
    source = _source(address, volume, source_of)
    if not source:
        return None
    if kind == "segmentation":
        chosen = _largest_objects(sample) if _has_objects(address) else []
        layer = segmentation_layer(name, source, chosen)
    else:
        look: Look | None = "map" if kind == "map" else "image" if is_told else None
        shading = shading_of(sample.voxels, volume.channels, look)
        kind = "map" if shading.is_map else kind
        layer = {"type": "image", "name": name, "source": source} | shading.layer()
    return Shown(kind, layer, sample.region())


def _source(address: str, volume: CheckedVolume, source_of: SourceOf) -> Any:
    place = normal_path(address)
    if named_format(address) == GRAPHENE:
        return f"graphene://middleauth+{place}"
    if not volume.driver:
        return source_of(place, "")
    group = _multiscale_above(volume.path, place, volume.driver)
    if group is not None:
        return source_of(group, volume.driver)
    is_pyramid = volume.driver == "n5" and volume.path == f"{place}/s0" and _lists_levels(place)
    url = source_of(place if is_pyramid else volume.path, volume.driver)
    return url and {"url": url, "transform": _transform(cast("ZarrVolume", volume))}


def _multiscale_above(path: str, place: str, driver: Any) -> str | None:
    """The group of OME-Zarr, at a place or below it, that tells Neuroglancer of an array."""
    from chunkflow_worker.volumes.zarr.metadata import group_attributes
    from chunkflow_worker.volumes.zarr.ome import listed_as

    above, _, name = path.rpartition("/")
    while driver != "n5" and len(above) >= len(place):
        if listed_as(group_attributes(above, driver) or {}, name):
            return above
        above, _, last = above.rpartition("/")
        name = f"{last}/{name}"
    return None


def _lists_levels(place: str) -> bool:
    """Whether a group of N5 has what Neuroglancer takes its levels from; it looks for no others."""
    from chunkflow_worker.volumes.zarr.metadata import group_attributes

    said = group_attributes(place, "n5") or {}
    levels = said.get("scales") or said.get("downsamplingFactors")
    return isinstance(levels, list) and bool(levels) and isinstance(levels[0], list)


def _transform(volume: ZarrVolume) -> dict[str, Any]:
    """Names, sizes and positions of the axes of an array, which Neuroglancer does not find."""
    sizes = dict(zip("zyx", volume.voxel_size, strict=True))
    starts = dict(zip("zyx", volume.bounds.start, strict=True))
    axes = [axis if axis in sizes else f"{axis}^" for axis in volume.axes]
    dimensions = {axis: [metres(sizes[axis]), "m"] if axis in sizes else [1, ""] for axis in axes}
    return {
        # Without these, Neuroglancer takes indices of an array without units for metres.
        "inputDimensions": dimensions,
        "outputDimensions": dimensions,
        "matrix": [[*(int(row == column) for column in axes), starts.get(row, 0)] for row in axes],
    }


def _has_objects(address: str) -> bool:
    """Whether a volume names meshes or skeletons."""
    info = find_info_at(address) or {}
    return bool(info.get("mesh") or info.get("skeletons"))


def _largest_objects(sample: Sample) -> list[int]:
    ids, counts = np.unique(sample.voxels, return_counts=True)
    order = np.argsort(counts, kind="stable")[::-1]
    return [int(n) for n in ids[order] if n != 0][:_CHOSEN]
