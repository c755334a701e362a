"""Axes, positions and voxel sizes, as several programs write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.storage.zarr_metadata import (
    Driver,
    Geometry,
    Order,
    array_metadata,
    geometry_of,
    is_array,
    level_name,
    multiscales,
    new_axes,
)

SHAPE = {"shape": [10, 12, 14]}


def geometry(
    attributes: dict[str, Any] | None = None,
    stored: dict[str, Any] | None = None,
    driver: Driver = "zarr",
    order: Order | None = None,
) -> Geometry:
    """Of an array that its group does not list."""
    return geometry_of(driver, stored or SHAPE, attributes or {}, {}, "0", order)


def test_an_array_without_attributes_starts_at_zero_with_unknown_voxels() -> None:
    assert geometry() == Geometry(("z", "y", "x"), {}, {})
    assert geometry(order="xyz").axes == ("x", "y", "z")
    assert geometry(stored={"shape": [2, 3, 4, 5]}).axes == ("c", "z", "y", "x")
    assert geometry(stored={"dimensions": [4, 3, 2]}, driver="n5").axes == ("x", "y", "z")
    assert geometry(stored={"dimensions": [4, 3, 2, 1]}, driver="n5").axes == ("x", "y", "z", "c")


@pytest.mark.parametrize(
    ("attributes", "stored", "axes"),
    [
        ({"axes": ["z", "x", "y"]}, SHAPE, ("z", "x", "y")),
        ({"_ARRAY_DIMENSIONS": ["X", "Y", "Z"]}, SHAPE, ("x", "y", "z")),
        ({}, SHAPE | {"dimension_names": ["y", "z", "x"]}, ("y", "z", "x")),
        ({"axes": ["z", "y"]}, SHAPE, ("z", "y", "x")),
        ({}, SHAPE | {"dimension_names": ["z", None, "x"]}, ("z", "y", "x")),
    ],
    ids=["n5", "xarray", "zarr3", "too few", "one without a name"],
)
def test_axes_are_those_that_the_store_names(
    attributes: dict[str, Any], stored: dict[str, Any], axes: tuple[str, ...]
) -> None:
    assert geometry(attributes, stored).axes == axes


@pytest.mark.parametrize(
    ("attributes", "scale", "translation"),
    [
        (
            {"resolution": [40, 8, 4], "offset": [80, -8, 12]},
            {"z": 40, "y": 8, "x": 4},
            {"z": 80, "y": -8, "x": 12},
        ),
        (
            {"voxel_size": [40, 8, 4], "voxel_offset": [2, -1, 3]},
            {"z": 40, "y": 8, "x": 4},
            {"z": 80, "y": -8, "x": 12},
        ),
        (
            {"resolution": [0.04, 0.008, 4], "units": ["um", "micrometer", "nm"]},
            {"z": 40, "y": 8, "x": 4},
            {},
        ),
        (
            {"pixelResolution": {"dimensions": [4, 8, 40], "unit": "nm"}},
            {"z": 40, "y": 8, "x": 4},
            {},
        ),
        (
            {"pixelResolution": {"dimensions": [0.004, 0.008, 0.04], "unit": "um"}},
            {"z": 40, "y": 8, "x": 4},
            {},
        ),
        ({"resolution": [40, 8], "pixelResolution": {"dimensions": [1]}}, {}, {}),
        ({"resolution": "40 8 4", "units": ["nm"]}, {}, {}),
    ],
)
def test_sizes_and_positions_are_in_nanometres(
    attributes: dict[str, Any], scale: dict[str, float], translation: dict[str, float]
) -> None:
    read = geometry(attributes)
    assert read.scale == pytest.approx(scale)
    assert read.translation == pytest.approx(translation)


def test_numbers_of_the_spatial_axes_alone_leave_out_channels() -> None:
    stored = {"shape": [2, 10, 12, 14]}
    assert geometry({"resolution": [40, 8, 4]}, stored).scale == {"z": 40, "y": 8, "x": 4}
    assert geometry({"resolution": [1, 40, 8, 4]}, stored).scales == [1, 40, 8, 4]


def ome(**changes: Any) -> dict[str, Any]:
    """Multiscales of two datasets in micrometres."""
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "ZYX"]
    datasets = []
    for i, size in enumerate((0.5, 1.0)):
        steps = [
            {"type": "scale", "scale": [1, 2 * size, size, size]},
            {"type": "translation", "translation": [0, 4, 0, -3]},
        ]
        datasets.append({"path": str(i), "coordinateTransformations": steps})
    return {"multiscales": [{"axes": axes, "datasets": datasets} | changes]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_multiscales_come_before_the_attributes_of_the_array(version: str) -> None:
    group = ome() if version == "0.4" else {"ome": ome()}
    attributes = {"resolution": [1, 1, 1], "axes": ["x", "y", "z"]}
    read = geometry_of("zarr3", {"shape": [1, 2, 3, 4]}, attributes, group, "1", None)
    assert read.axes == ("c", "z", "y", "x")
    assert read.scales == [1, 2000, 1000, 1000]
    assert read.translations == [0, 4000, 0, -3000]
    not_listed = geometry_of("zarr3", SHAPE, attributes, group, "2", None)
    assert (not_listed.axes, not_listed.scales) == (("x", "y", "z"), [1, 1, 1])


def test_a_transformation_of_all_datasets_is_applied_after_their_own() -> None:
    steps = [
        {"type": "scale", "scale": [1, 10, 10, 10]},
        {"type": "translation", "translation": [0, 1, 0, 0]},
    ]
    read = geometry_of("zarr", SHAPE, {}, ome(coordinateTransformations=steps), "0", None)
    assert read.scales == pytest.approx([1, 10_000, 5_000, 5_000])
    assert read.translations == pytest.approx([0, 4 * 10_000 + 1_000, 0, -3 * 10_000])


def test_ome_zarr_0_3_has_names_of_axes_alone() -> None:
    group = {"multiscales": [{"axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]}
    read = geometry_of("zarr", SHAPE, {}, group, "0", "xyz")
    assert (read.axes, read.scales, read.translations) == (("z", "y", "x"), [1] * 3, [0] * 3)


def test_another_voxel_size_keeps_the_first_voxel() -> None:
    known = Geometry(("c", "x", "y", "z"), {"z": 40, "y": 8, "x": 8}, {"z": 80, "y": -8})
    other = known.with_voxel_size((10.0, 2.0, 4.0))
    assert (other.axes, other.scales) == (known.axes, [1, 4, 2, 10])
    assert other.translations == [0, 0, -2, 20], "voxel 2, -1, 0"
    assert Geometry(("z", "y", "x"), {}, {}).with_voxel_size((1.0, 2.0, 3.0)).scales == [1, 2, 3]


def test_multiscales_that_are_no_list_are_none() -> None:
    assert multiscales({"multiscales": "x"}) == multiscales({}) == multiscales({"ome": 1}) == []


@pytest.mark.parametrize(
    ("content", "driver", "expected"),
    [
        ({"shape": [1]}, "zarr", True),
        ({"shape": [1], "node_type": "array"}, "zarr3", True),
        ({"shape": [1], "node_type": "group"}, "zarr3", False),
        ({"node_type": "group"}, "zarr3", False),
        ({"dimensions": [1]}, "n5", True),
        ({"n5": "4.0.0"}, "n5", False),
        (None, "zarr", False),
        ([], "n5", False),
    ],
)
def test_arrays_and_groups_are_distinguished(content: Any, driver: Driver, expected: bool) -> None:
    assert is_array(content, driver) is expected


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
        read = geometry_of(driver, metadata, metadata, {}, "s0", None)
        assert (read.axes, read.scales, read.translations) == (
            axes,
            made.scales,
            made.translations,
        )
        assert metadata["pixelResolution"] == {"unit": "nm", "dimensions": [7.16, 8.0, 40.0]}


@pytest.mark.parametrize(("dtype", "zero"), [("bool", False), ("float32", 0)])
def test_the_fill_value_is_a_zero_of_the_type(dtype: str, zero: object) -> None:
    plain = Geometry(("z", "y", "x"), {}, {})
    for driver in ("zarr", "zarr3"):
        metadata = array_metadata(driver, plain, [1] * 3, [1] * 3, np.dtype(dtype), "image")
        assert metadata["fill_value"] is zero
