"""`kind_of`: whether an array holds an image or a segmentation, as its store says."""

from __future__ import annotations

from typing import Any

from chunkflow_worker.image.chunk import LayerType
from chunkflow_worker.volumes.zarr.metadata import StoredArray
from chunkflow_worker.volumes.zarr.ome import ome_attributes

_STORES = (".zarr", ".zarr3", ".n5")


def kind_of(array: StoredArray, *, is_integer: bool) -> LayerType:
    """The meaning of the voxels of an array. Only integers can be the ids of objects."""
    for attributes in (array.attributes, *(group.attributes for group in array.groups)):
        said = attributes.get("layer_type")
        if said in ("image", "segmentation"):
            return "segmentation" if said == "segmentation" else "image"
        if is_integer and _is_of_labels(attributes):
            return "segmentation"
    return "segmentation" if is_integer and _is_below_labels(array) else "image"


def _is_of_labels(attributes: dict[str, Any]) -> bool:
    """Whether OME-Zarr, Paintera or CellMap say that the voxels are ids."""
    paintera = attributes.get("painteraData")
    if isinstance(paintera, dict) and paintera.get("type") == "label":
        return True
    cellmap: Any = attributes.get("cellmap")
    for key in ("annotation", "annotation_type", "type"):
        cellmap = cellmap.get(key) if isinstance(cellmap, dict) else None
    is_annotation = isinstance(cellmap, str) and cellmap.endswith("_segmentation")
    return "image-label" in ome_attributes(attributes) or "maxId" in attributes or is_annotation


def _is_below_labels(array: StoredArray) -> bool:
    """Whether a group called labels, in which OME-Zarr keeps segmentations, is above the array."""
    return any(
        group.place.endswith("/labels")
        and (group.is_group or any(part.endswith(_STORES) for part in group.place.split("/")))
        for group in array.groups
    )
