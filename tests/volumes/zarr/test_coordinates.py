"""Coordinates beside an array, as xarray writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from chunkflow_worker.volumes.zarr.coordinates import with_coordinates
from chunkflow_worker.volumes.zarr.geometry import Geometry
from chunkflow_worker.volumes.zarr.metadata import stored_array
from chunkflow_worker.volumes.zarr.volume import open_zarr

ZYX = ("z", "y", "x")
EVEN = {"z": np.arange(4) * 40.0 + 80, "y": np.arange(6) * 8.0, "x": np.arange(8) * 4.0 - 4}


def dataset(folder: Path, version: int, coordinates: dict[str, Any], unit: str = "nm") -> str:
    """As Dataset.to_zarr of xarray: `_ARRAY_DIMENSIONS` in Zarr 2, dimension names in Zarr 3."""
    group = zarr.open_group(folder / "a", mode="w", zarr_format=version)
    for name, values in {"em": np.ones((4, 6, 8), np.uint8), **coordinates}.items():
        dims = list(ZYX) if name == "em" else [name]
        made = group.create_array(
            name, data=np.asarray(values), dimension_names=dims if version == 3 else None
        )
        made.attrs.update({} if version == 3 else {"_ARRAY_DIMENSIONS": dims})
        if name != "em" and unit:
            made.attrs["units"] = unit
    return f"file://{folder}/a/em"


def geometry(place: str, version: int) -> Geometry:
    array = stored_array(place, "zarr" if version == 2 else "zarr3")
    assert array is not None
    return with_coordinates(array, Geometry(ZYX, {}, {}))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("unit", "factor"), [("nm", 1.0), ("micrometer", 1e-3)])
def test_even_coordinates_give_size_and_position(
    tmp_path: Path, version: int, unit: str, factor: float
) -> None:
    coordinates = {axis: values * factor for axis, values in EVEN.items()}
    found = geometry(dataset(tmp_path, version, coordinates, unit), version)
    assert found.scale == pytest.approx({"z": 40, "y": 8, "x": 4})
    assert found.translation == pytest.approx({"z": 80, "y": 0, "x": -4})
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("changes", "unit", "about"),
    [
        ({"z": np.array([0.0, 40, 80, 200])}, "nm", ("voxel size", "position")),
        ({"x": -np.arange(8) * 4.0}, "nm", ("voxel size", "position")),
        ({"z": np.array([True] * 4)}, "nm", ("voxel size", "position")),
        ({}, "", ("voxel size",)),
        ({}, "furlong", ("voxel size",)),
    ],
)
def test_coordinates_that_can_not_be_used_are_told(
    tmp_path: Path, changes: dict[str, Any], unit: str, about: tuple[str, ...]
) -> None:
    [note] = geometry(dataset(tmp_path, 3, EVEN | changes, unit), 3).ignored
    assert note.about == about


def test_without_coordinates_nothing_changes(tmp_path: Path) -> None:
    plain = Geometry(ZYX, {}, {})
    assert geometry(dataset(tmp_path, 3, {}), 3) == plain
    other = {"z": np.arange(5), "y": np.arange(3)}  # not of this array
    assert geometry(dataset(tmp_path, 3, other), 3) == plain


def test_coordinates_that_can_not_be_used_leave_the_others(tmp_path: Path) -> None:
    found = geometry(dataset(tmp_path, 2, EVEN | {"z": np.array(["a", "b", "c", "d"])}), 2)
    assert found.scale == pytest.approx({"y": 8, "x": 4})
    [note] = found.ignored
    assert note.text.startswith("its coordinates along z are no numbers that grow evenly")


def test_the_image_of_a_dataset_is_the_array_with_more_than_one_dimension(tmp_path: Path) -> None:
    dataset(tmp_path, 2, EVEN)
    volume = open_zarr(f"{tmp_path}/a")
    assert volume is not None
    assert volume.path.endswith("/a/em")
    assert volume.voxel_size == (40, 8, 4)
    assert tuple(volume.bounds.start) == (2, 0, -1)


def test_coordinates_of_other_folders_are_not_read(tmp_path: Path) -> None:
    place = dataset(tmp_path, 3, EVEN)
    zarr.create_array(tmp_path / "secret", data=np.arange(4) * 7.0)
    path = tmp_path / "a" / "em" / "zarr.json"
    path.write_text(path.read_text().replace('"z"', '"../secret"'))
    assert "z" not in geometry(place, 3).scale
