"""The metadata of new arrays, read back as that of stored ones."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.volumes.zarr.attributes import from_attributes
from chunkflow_worker.volumes.zarr.geometry import Geometry
from chunkflow_worker.volumes.zarr.metadata import Driver, StoredArray, is_array
from chunkflow_worker.volumes.zarr.new import array_metadata, level_name, new_axes


def test_names_and_axes_of_new_arrays() -> None:
    assert (level_name("zarr", 2), level_name("zarr3", 2), level_name("n5", 2)) == ("2", "2", "s2")
    assert new_axes("zarr", 0, "zyx") == ("z", "y", "x")
    assert new_axes("zarr3", 3, "xyz") == ("c", "x", "y", "z")
    assert new_axes("n5", 0, "zyx") == ("x", "y", "z")
    assert new_axes("n5", 3, "zyx") == ("x", "y", "z", "c")


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_new_metadata_read_back_as_the_same_array(driver: Driver) -> None:
    axes = new_axes(driver, 2, "zyx")
    scale = {"z": 40.0, "y": 8.0, "x": 7.16}
    made = Geometry(axes, scale, {"z": -80.0, "y": 0.0, "x": 14.32})
    sizes = {"c": 2, "z": 10, "y": 20, "x": 30}
    shape = [sizes[axis] for axis in axes]
    metadata = array_metadata(driver, made, shape, [1, 4, 4, 4], np.dtype("uint16"), "image")
    assert is_array(metadata, driver)
    assert metadata["dimensions" if driver == "n5" else "shape"] == shape
    if driver == "n5":  # the others keep size and position in their group
        read = from_attributes(StoredArray("file:///a/s1", driver, metadata, metadata), "zyx")
        assert (read.axes, read.scales, read.ignored) == (axes, made.scales, ())
        assert read.translations == made.translations
        assert metadata["pixelResolution"] == {"unit": "nm", "dimensions": [7.16, 8.0, 40.0, 1.0]}


@pytest.mark.parametrize(("dtype", "zero"), [("bool", False), ("float32", 0)])
def test_the_fill_value_is_a_zero_of_the_type(dtype: str, zero: object) -> None:
    plain = Geometry(("z", "y", "x"), {}, {})
    for driver in ("zarr", "zarr3"):
        metadata = array_metadata(driver, plain, [1] * 3, [1] * 3, np.dtype(dtype), "image")
        assert metadata["fill_value"] is zero
