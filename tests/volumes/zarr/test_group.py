"""What the path of a group means."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.volumes.zarr.group import find_array
from chunkflow_worker.volumes.zarr.metadata import Driver
from chunkflow_worker.volumes.zarr.volume import open_zarr
from tests.support.n5 import write_attributes, write_n5
from tests.support.web_server import web_server

VOXELS = np.ones((2, 3, 4), np.uint8)
ALL: tuple[Driver, ...] = ("zarr3", "zarr", "n5")
VERSIONS = pytest.mark.parametrize("version", [2, 3])


def group(folder: Path, version: int, attributes: dict[str, Any] | None = None, *names: str) -> Any:
    made = zarr.open_group(folder, mode="a", zarr_format=version)
    made.attrs.update(attributes or {})
    for name in names:
        made.create_array(name, data=VOXELS)
    return made


def multiscales(*paths: str) -> dict[str, Any]:
    return {"multiscales": [{"datasets": [{"path": path}]} for path in paths]}


def ome(attributes: dict[str, Any], version: int) -> dict[str, Any]:
    """As OME-Zarr 0.4 has it in Zarr 2, and 0.5 in Zarr 3."""
    return attributes if version == 2 else {"ome": {"version": "0.5", **attributes}}


def found(folder: Path) -> str | None:
    """The array that a folder means, below it."""
    array = find_array(f"file://{folder}", ALL)
    return array and array.place.removeprefix(f"file://{folder}").strip("/")


@VERSIONS
def test_the_finest_array_of_multiscales(tmp_path: Path, version: int) -> None:
    datasets = [{"path": "fine/a"}, {"path": "coarse"}]
    listed = {"multiscales": [{"datasets": datasets}]}
    group(tmp_path, version, ome(listed, version), "coarse", "fine/a", "0")
    assert found(tmp_path) == "fine/a"
    assert found(tmp_path / "coarse") == "", "an array means itself"


@VERSIONS
def test_of_several_multiscales_the_first_is_read_and_the_others_are_told(
    tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The specification's fallback."""
    group(tmp_path, version, ome(multiscales("a", "b", "c"), version), "a", "b", "c")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path) == "a"
    assert (
        "of its multiscales the first is read, a, and not b, c (give its path to read it)"
        in caplog.text
    )


@VERSIONS
def test_an_array_that_is_listed_and_does_not_exist(tmp_path: Path, version: int) -> None:
    group(tmp_path, version, ome(multiscales("0"), version), "1")
    with pytest.raises(DataMissing, match="lists 0, and there is no array of that name"):
        found(tmp_path)


@VERSIONS
def test_the_only_image_of_bioformats2raw(tmp_path: Path, version: int) -> None:
    group(tmp_path, version, ome({"bioformats2raw.layout": 3}, version))
    group(tmp_path / "OME", version, ome({}, version))
    group(tmp_path / "0", version, ome(multiscales("0"), version), "0")
    assert found(tmp_path) == "0/0"
    group(tmp_path / "1", version, ome(multiscales("0"), version), "0")
    with pytest.raises(ConfigError, match="holds images, and a chain reads one image: 0, 1"):
        found(tmp_path)
    assert found(tmp_path / "1") == "0"
    group(tmp_path / "OME", version, ome({"series": ["1"]}, version))
    assert found(tmp_path) == "1/0"


@VERSIONS
def test_plates_are_refused_and_the_only_image_of_a_well_is_read(
    tmp_path: Path, version: int
) -> None:
    group(tmp_path, version, ome({"plate": {"wells": [{"path": "A/1"}]}}, version))
    well = group(tmp_path / "A/1", version, ome({"well": {"images": [{"path": "0"}]}}, version))
    group(tmp_path / "A/1/0", version, ome(multiscales("0"), version), "0")
    with pytest.raises(ConfigError, match=r"is a plate of wells.*\n.*example file://.*/A/1/0"):
        found(tmp_path)
    assert found(tmp_path / "A/1") == "0/0"
    images = [{"path": "0"}, {"path": "1"}]
    well.attrs.update(ome({"well": {"images": images}}, version))
    with pytest.raises(ConfigError, match=r"one image: 0, 1\n.*example file://.*/A/1/0"):
        found(tmp_path / "A/1")


@VERSIONS
def test_the_only_one_of_labels(tmp_path: Path, version: int) -> None:
    labels = group(tmp_path, version, ome({"labels": ["cells"]}, version))
    group(tmp_path / "cells", version, ome(multiscales("0"), version), "0")
    assert found(tmp_path) == "cells/0"
    labels.attrs.update(ome({"labels": ["cells", "nuclei"]}, version))
    with pytest.raises(ConfigError, match="one image: cells, nuclei"):
        found(tmp_path)


@VERSIONS
def test_arrays_that_no_metadata_lists(tmp_path: Path, version: int) -> None:
    root = group(tmp_path / "a", version, {}, "em")
    root.create_array("z", data=np.arange(4))  # no image
    assert found(tmp_path / "a") == "em"
    root.create_array("labels", data=VOXELS)
    with pytest.raises(
        ConfigError, match=r"holds arrays, .*: em, labels\n.*example file://.*/a/em"
    ):
        found(tmp_path / "a")
    root.create_array("0", data=VOXELS)
    assert found(tmp_path / "a") == "0", "the finest level by its name"


@VERSIONS
@pytest.mark.parametrize("name", ["main", "raw"])
def test_of_several_arrays_main_or_raw_is_read_and_the_others_are_told(
    tmp_path: Path, version: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As load-h5 does."""
    group(tmp_path, version, {}, "labels", name, "a")
    assert found(tmp_path) == name
    assert (
        f"of its arrays {name} is read, and not a, labels (give its path to read it)" in caplog.text
    )


@VERSIONS
def test_groups_in_groups(tmp_path: Path, version: int) -> None:
    group(tmp_path / "a", version)
    group(tmp_path / "a/em", version, ome(multiscales("s0"), version), "s0")
    assert found(tmp_path / "a") == "em/s0"
    group(tmp_path / "a/seg", version, {}, "s0")
    with pytest.raises(ConfigError, match="holds groups, and a chain reads one image: em, seg"):
        found(tmp_path / "a")
    assert found(tmp_path / "a/seg") == "s0"


def test_a_folder_of_stores_is_no_group(tmp_path: Path) -> None:
    group(tmp_path / "em.zarr", 2, {}, "0")
    with pytest.raises(ConfigError, match=r"one image: em.zarr\n"):
        found(tmp_path)
    shutil.rmtree(tmp_path / "em.zarr")
    assert found(tmp_path) is None


def test_groups_of_n5_need_no_metadata(tmp_path: Path) -> None:
    """As BigDataViewer's setup0/timepoint0/s0."""
    write_n5(tmp_path / "a/setup0/timepoint0/s0", VOXELS)
    write_attributes(tmp_path / "a/setup0", {"downsamplingFactors": [[1, 1, 1]]})
    write_attributes(tmp_path / "a", {"n5": "2.0.0"})
    assert found(tmp_path / "a") == "setup0/timepoint0/s0"
    assert found(tmp_path / "a/setup0/timepoint0") == "s0"
    write_n5(tmp_path / "b/em/fib/s0", VOXELS)
    write_attributes(tmp_path / "b", {"n5": "2.0.0"})
    assert found(tmp_path / "b") == "em/fib/s0"
    write_n5(tmp_path / "a/setup1/timepoint0/s0", VOXELS)
    with pytest.raises(ConfigError, match="one image: setup0, setup1"):
        found(tmp_path / "a")


def test_paintera_keeps_its_levels_in_data(tmp_path: Path) -> None:
    write_n5(tmp_path / "data/s0", VOXELS)
    write_n5(tmp_path / "unique-labels/s0", VOXELS)
    write_attributes(tmp_path, {"painteraData": {"type": "label"}})
    assert found(tmp_path) == "data/s0"


@VERSIONS
@pytest.mark.parametrize("path", [".", "", "..", "../a"])
def test_a_group_that_lists_itself(tmp_path: Path, version: int, path: str) -> None:
    group(tmp_path / "a", version, ome(multiscales(path), version), "0")
    assert found(tmp_path / "a") == "0"


@VERSIONS
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_consolidated_metadata_tell_what_a_bucket_holds(
    aws: dict[str, str], unique_name: str, tmp_path: Path, version: int
) -> None:
    """Listing it would list every block."""
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    root = group(tmp_path / "a", version, {}, "em", "seg", "more/em")
    root.create_array("z", data=np.arange(4))
    zarr.consolidate_metadata(root.store)
    for file in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        s3.upload_file(str(file), unique_name, str(file.relative_to(tmp_path)))
    with pytest.raises(ConfigError, match=r"one image: em, seg\n"):
        find_array(f"s3://{unique_name}/a", ALL)


def write_for_the_web(folder: Path, driver: Driver) -> None:
    if driver == "n5":
        write_n5(folder / "s0", VOXELS, {"resolution": [8, 8, 40]})
        write_attributes(folder, {"n5": "2.0.0"})
        return
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [40, 8, 8]}
    datasets = [{"path": "s0", "coordinateTransformations": [scale]}]
    attributes = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    version = 3 if driver == "zarr3" else 2
    group(folder, version, ome(attributes, version), "s0")


@pytest.mark.parametrize("absent", [404, 403])
@pytest.mark.parametrize("path", ["em.zarr", "em.zarr/s0", "lab 1/#2 é/em.zarr"])
@pytest.mark.parametrize(("driver", "asked"), [("zarr3", 7), ("zarr", 10), ("n5", 12)])
def test_a_store_of_a_web_server_or_a_bucket_that_may_not_be_listed(
    tmp_path: Path, absent: int, path: str, driver: Driver, asked: int
) -> None:
    """Without the right to list, absent files are forbidden. Each file asked for takes time."""
    write_for_the_web(tmp_path / path.removesuffix("/s0"), driver)
    with web_server(tmp_path, absent) as server:
        volume = open_zarr(f"{server.address}/{path}")
        assert volume is not None
        assert volume.voxel_size == (40, 8, 8)
        assert len(server.asked) <= asked, server.asked
        read = volume.read(volume.bounds)
    assert np.array_equal(read, VOXELS.T if driver == "n5" else VOXELS)


def test_coordinates_of_a_web_server_are_read_without_the_groups_above_them(tmp_path: Path) -> None:
    made = zarr.open_group(tmp_path / "a/b/c", mode="w")
    made.create_array("em", data=VOXELS, dimension_names=["z", "y", "x"])
    for name, size in zip("zyx", VOXELS.shape, strict=True):
        made.create_array(name, data=np.arange(size) * 4.0, dimension_names=[name])
    with web_server(tmp_path) as server:
        volume = open_zarr(f"{server.address}/a/b/c/em")
    assert volume is not None
    assert volume.voxel_size == (4, 4, 4)
    assert server.asked.count("a/zarr.json") == 1


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_a_group_of_object_storage_that_lists_nothing(tmp_path: Path, driver: Driver) -> None:
    if driver == "n5":
        write_attributes(tmp_path / "a", {"n5": "2.0.0"})
    else:
        group(tmp_path / "a", 3 if driver == "zarr3" else 2, {"by": "ada"})
    assert found(tmp_path / "a") is None, "an empty folder"
    with (
        web_server(tmp_path) as server,
        pytest.raises(ConfigError, match=r"do not list what is in it\n.*example http://.*/a/em/s0"),
    ):
        find_array(f"{server.address}/a", ALL)
