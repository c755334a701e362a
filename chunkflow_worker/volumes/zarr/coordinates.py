"""`with_coordinates`: sizes and position from coordinates that xarray stores beside an array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chunkflow_worker.errors import BlockDamaged, DataRefused
from chunkflow_worker.storage.largest import check_block
from chunkflow_worker.volumes.zarr.geometry import SPATIAL, Geometry, Ignored, measured
from chunkflow_worker.volumes.zarr.metadata import StoredArray, stored_array
from chunkflow_worker.volumes.zarr.ome import name_below
from chunkflow_worker.volumes.zarr.open import check_chunks
from chunkflow_worker.volumes.zarr.store import open_array, store_errors


def with_coordinates(array: StoredArray, geometry: Geometry) -> Geometry:
    """The geometry with what the arrays z, y and x beside an array say, if there are such.

    They are one-dimensional and named like the dimensions of the array.
    Raises StorageUnavailable.
    """
    names = array.content.get("dimension_names") or array.attributes.get("_ARRAY_DIMENSIONS")
    if array.is_n5 or not isinstance(names, list) or len(names) != array.dimensions:
        return geometry
    scale, translation, units = dict[str, float](), dict[str, float](), dict[str, object]()
    unusable = []
    for name, axis, size in zip(names, geometry.axes, array.shape, strict=True):
        if name_below(str(name)) != name:
            continue
        beside = f"{array.place.rpartition('/')[0]}/{name}"
        along = stored_array(beside, array.driver, alone=True) if axis in SPATIAL else None
        if along is None or along.shape != [size]:
            continue
        values = _numbers(along)
        steps = np.diff(values)
        if len(steps) and np.allclose(steps, steps[0], rtol=1e-3) and steps[0] > 0:
            scale[axis] = float((values[-1] - values[0]) / len(steps))
            translation[axis], units[axis] = float(values[0]), along.attributes.get("units")
        else:
            unusable.append(axis)
    if not scale and not unusable:
        return geometry
    found = measured(geometry.axes, scale, translation, units, unit_expected=True)
    notes = [*geometry.ignored, *found.ignored]
    if unusable:
        axes = " ".join(unusable)
        text = f"its coordinates along {axes} are no numbers that grow evenly, and are not used"
        notes.append(Ignored(("voxel size", "position"), text))
    return replace(found, ignored=tuple(notes), is_named=geometry.is_named)


def _numbers(array: StoredArray) -> np.ndarray:
    """The values of an array; none if they are no numbers."""
    none = np.empty(0)
    try:
        with store_errors(array.place):
            opened = open_array(array.place, array.driver)
            check_chunks(opened, array.place)
            check_block(array.shape[0] * opened.dtype.numpy_dtype.itemsize, array.place)
            values: np.ndarray = opened.read().result()
    except (BlockDamaged, DataRefused):  # tensorstore knows no texts
        return none
    return values.astype(np.float64) if values.dtype.kind in "iuf" else none
