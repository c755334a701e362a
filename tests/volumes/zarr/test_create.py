"""New arrays and their groups; tests/operators/test_save_zarr.py validates them as OME-Zarr."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import boto3
import pytest
import zarr

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.zarr.create import create_zarr
from chunkflow_worker.volumes.zarr.metadata import Driver
from chunkflow_worker.volumes.zarr.store import read_json
from chunkflow_worker.volumes.zarr.volume import ZarrVolume

BOUNDS = BoundingBox.parse("-4-8_0-40_0-40")


def create(path: object, mip: int = 0, **changes: Any) -> ZarrVolume:
    options: dict[str, Any] = {
        "driver": "zarr3",
        "bounds": BOUNDS,
        "voxel_size": (40.0, 8.0 * 2**mip, 8.0 * 2**mip),
        "block_size": Vec3(4, 16, 16),
        "dtype": "uint8",
    }
    return create_zarr(str(path), mip, **(options | changes))


def datasets(path: Path, driver: Driver) -> list[dict[str, Any]]:
    if driver == "zarr":
        return json.loads((path / ".zattrs").read_text())["multiscales"][0]["datasets"]
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    return attributes["ome"]["multiscales"][0]["datasets"]


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_levels_are_listed_in_the_group_the_finest_first(tmp_path: Path, driver: Driver) -> None:
    for mip in (10, 0, 2, 2):
        create(tmp_path, mip, driver=driver)
    listed = datasets(tmp_path, driver)
    assert [dataset["path"] for dataset in listed] == ["0", "2", "10"]
    scale, translation = listed[1]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [40, 32, 32]}
    # The centres of its first voxels: each is as wide as four of the finest level.
    assert translation == {"type": "translation", "translation": [-160, 12, 12]}
    assert listed[0]["coordinateTransformations"][1]["translation"] == [-160, 0, 0]
    assert listed[2]["coordinateTransformations"][1]["translation"] == [-160, 4092, 4092]


def test_what_another_program_placed_stays_where_it_is(tmp_path: Path) -> None:
    create(tmp_path, 1)
    group = json.loads((tmp_path / "zarr.json").read_text())
    scales = group["attributes"]["ome"]["multiscales"][0]
    scales["datasets"][0]["coordinateTransformations"].pop()
    coarse = scales["datasets"][0] | {"path": "other"}
    steps = [
        {"type": "scale", "scale": [40, 64, 64]},
        {"type": "translation", "translation": [0, 9, 9]},
    ]
    scales["datasets"].append(coarse | {"coordinateTransformations": steps})
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    theirs = datasets(tmp_path, "zarr3")
    create(tmp_path, 0)
    assert datasets(tmp_path, "zarr3")[1:] == theirs


def test_other_attributes_of_the_group_are_kept(tmp_path: Path) -> None:
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"by": "ada", "layer_type": "x"}}
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    create(tmp_path, layer_type="segmentation")
    attributes = json.loads((tmp_path / "zarr.json").read_text())["attributes"]
    assert (attributes["by"], attributes["layer_type"]) == ("ada", "x")
    assert len(datasets(tmp_path, "zarr3")) == 1


def test_blocks_are_no_larger_than_the_array(tmp_path: Path) -> None:
    assert create(tmp_path, block_size=Vec3(64, 64, 16)).block_size == Vec3(12, 40, 16)


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
@pytest.mark.parametrize("protocol", ["file", "mem", "s3"])
def test_workers_may_create_levels_at_the_same_time(
    tmp_path: Path, aws: dict[str, str], unique_name: str, driver: Driver, protocol: str
) -> None:
    path = f"{protocol}://{tmp_path if protocol == 'file' else unique_name}/em"
    if protocol == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
    together, volumes = Barrier(8), {}

    def work(i: int) -> None:
        together.wait(20)
        volumes[i] = create(path, i % 4, driver=driver)

    threads = [Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(volumes) == list(range(8)), "none of them failed"
    if driver != "n5":
        content, _ = read_json(path, ".zattrs" if driver == "zarr" else "zarr.json")
        attributes = content if driver == "zarr" else content["attributes"]["ome"]
        [scales] = attributes["multiscales"]
        assert [dataset["path"] for dataset in scales["datasets"]] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"driver": "zarr"}, "array 0: another one already exists here: it is of the format zarr3"),
        ({"dtype": "uint16"}, "array 0: another one already exists here: .*data_type"),
        ({"order": "xyz"}, "array 0: another one already exists here: its axes are"),
        (
            {"voxel_size": (40.0, 9.0, 9.0)},
            "another one already exists here: its multiscales list it with",
        ),
        (
            {"bounds": BOUNDS.shift((4, 0, 0))},
            "another one already exists here: its multiscales list it with",
        ),
        ({"block_size": Vec3(4, 8, 8)}, "another one already exists here: .*chunk"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    create(tmp_path)
    files = sorted(str(file) for file in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=f"{text}(.|\n)*choose another path"):
        create(tmp_path, **changes)
    assert sorted(str(file) for file in tmp_path.rglob("*")) == files
    create(tmp_path)


def test_another_n5_array_is_refused(tmp_path: Path) -> None:
    create(tmp_path, driver="n5")
    with pytest.raises(
        ConfigError, match=r"s0: another one already exists here: .*offset"
    ) as refused:
        create(tmp_path, driver="n5", bounds=BOUNDS.shift((4, 0, 0)))
    assert "tensorstore_spec" not in str(refused.value)


def test_an_array_is_no_group(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(ConfigError, match="store: another one already exists here: it is an array"):
        create(tmp_path / "0")


@pytest.mark.parametrize("dtype", ["bool", "float16"])
def test_types_that_n5_does_not_support_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ConfigError, match=f"dtype: N5 has no {dtype}\n.*choose Zarr"):
        create(tmp_path / "em", driver="n5", dtype=dtype)
    assert not (tmp_path / "em").exists()


@pytest.mark.parametrize(
    "attributes",
    [
        {"multiscales": [{"version": "0.1", "datasets": [{"path": "s0"}]}]},
        {"multiscales": [{"axes": ["z", "y", "x"], "datasets": [{"path": "s0"}]}]},
        {"multiscales": [{"axes": [], "datasets": [{"coordinateTransformations": []}]}]},
        {"multiscales": {"axes": []}},
        {"multiscales": [None]},
        {"plate": {"wells": []}},
        {"well": {"images": []}},
        {"labels": ["cells"]},
        {"bioformats2raw.layout": 3},
    ],
)
@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_groups_of_other_kinds_are_kept_as_they_are(
    tmp_path: Path, driver: Driver, attributes: dict[str, Any]
) -> None:
    group = zarr.open_group(tmp_path, zarr_format=3 if driver == "zarr3" else 2)
    group.attrs.update({"ome": attributes} if driver == "zarr3" else attributes)
    with pytest.raises(ConfigError, match=r"is not that of an image of OME-Zarr 0.4 or 0.5\n"):
        create(tmp_path, driver=driver)
    kept = zarr.open_group(tmp_path).attrs.asdict()
    assert kept == ({"ome": attributes} if driver == "zarr3" else attributes)
    assert not (tmp_path / "0").exists()


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_axes_in_another_unit_are_told_in_words(tmp_path: Path, driver: Driver) -> None:
    create(tmp_path, driver=driver)
    file = tmp_path / (".zattrs" if driver == "zarr" else "zarr.json")
    file.write_text(file.read_text().replace("nanometer", "micrometer"))
    with pytest.raises(ConfigError, match=r"axes are z in micrometer, y .* array z in nanometer, "):
        create(tmp_path, 1, driver=driver)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_new_level_is_seen_by_readers_of_consolidated_metadata(
    tmp_path: Path, driver: Driver
) -> None:
    create(tmp_path, driver=driver)
    zarr.consolidate_metadata(str(tmp_path))
    create(tmp_path, 1, driver=driver)
    assert sorted(zarr.open_group(tmp_path).array_keys()) == ["0", "1"]


@pytest.mark.parametrize("first", ["zarr", "zarr3", "n5"])
@pytest.mark.parametrize("second", ["zarr", "zarr3", "n5"])
def test_a_store_has_one_format(tmp_path: Path, first: Driver, second: Driver) -> None:
    create(tmp_path, driver=first)
    if first == second:
        create(tmp_path, 1, driver=second)
        return
    with pytest.raises(ConfigError, match=rf"is of the format {first}\n.*--driver {first}"):
        create(tmp_path, 1, driver=second)


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_a_path_below_a_file_is_told(tmp_path: Path, driver: Driver) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="is a file, or is inside one, and a Zarr or N5 store"):
        create(tmp_path / "notes.txt" / "em", driver=driver)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_an_image_has_one_array_of_each_voxel_size(tmp_path: Path, driver: Driver) -> None:
    """Readers would take the array of the other program, s0, for the image."""
    create(tmp_path, driver=driver)
    (tmp_path / "0").rename(tmp_path / "s0")
    file = tmp_path / (".zattrs" if driver == "zarr" else "zarr.json")
    file.write_text(file.read_text().replace('"path": "0"', '"path": "s0"'))
    with pytest.raises(ConfigError, match=rf"voxel size, s0\n *write to file://{tmp_path}/s0, or"):
        create(tmp_path, driver=driver)
    create(tmp_path, 1, driver=driver)


def test_an_array_is_not_created_at_a_web_address() -> None:
    with pytest.raises(ConfigError, match="https://host/em: is read only"):
        create("https://host/em")


def test_the_format_in_the_address_is_left_out(tmp_path: Path) -> None:
    assert create(f"zarr://file://{tmp_path}/em|zarr3:").path == f"file://{tmp_path}/em/0"
