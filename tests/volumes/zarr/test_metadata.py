"""Stored arrays with the groups above them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zarr

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.volumes.zarr import metadata
from chunkflow_worker.volumes.zarr.metadata import (
    Driver,
    group_attributes,
    is_array,
    stored_array,
)


@pytest.mark.parametrize(
    ("content", "driver", "expected"),
    [
        ({"shape": [1]}, "zarr", True),
        ({"shape": [1], "node_type": "array"}, "zarr3", True),
        ({"shape": [1], "node_type": "group"}, "zarr3", False),
        ({"node_type": "group"}, "zarr3", False),
        ({"dimensions": [1]}, "n5", True),
        ({"dimensions": 3}, "n5", False),
        ({"n5": "4.0.0"}, "n5", False),
        (None, "zarr", False),
        ([], "n5", False),
    ],
)
def test_arrays_and_groups_are_distinguished(content: Any, driver: Driver, expected: bool) -> None:
    assert is_array(content, driver) is expected


@pytest.mark.parametrize(("driver", "version"), [("zarr", 2), ("zarr3", 3)])
def test_the_groups_above_an_array_are_those_of_the_store(
    tmp_path: Path, driver: Driver, version: int
) -> None:
    root = zarr.open_group(tmp_path / "a", mode="w", zarr_format=version)
    root.attrs["at"] = "root"
    group = root.create_group("em")
    group.create_array("s0", shape=(1, 2, 3), dtype="u1").attrs["at"] = "array"
    found = stored_array(f"file://{tmp_path}/a/em/s0", driver)
    assert found is not None
    assert (found.shape, found.dimensions) == ([1, 2, 3], 3)
    assert found.attributes["at"] == "array"
    em, above, outside = found.groups[:3]
    assert (em.name, em.attributes) == ("s0", {})
    assert (above.place, above.name) == (f"file://{tmp_path}/a", "em/s0")
    assert above.attributes["at"] == "root"
    assert (outside.attributes, outside.is_group) == ({}, False)
    assert stored_array(f"file://{tmp_path}/a/em", driver) is None
    assert group_attributes(f"file://{tmp_path}/a/em", driver) == {}
    assert group_attributes(f"file://{tmp_path}", driver) is None


def test_no_more_than_five_groups_are_asked(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "1/2/3/4/5/6/7", shape=(1,), dtype="u1")
    found = stored_array(f"file://{tmp_path}/1/2/3/4/5/6/7", "zarr3")
    assert found is not None
    assert [group.name for group in found.groups][::4] == ["7", "3/4/5/6/7"]


def test_the_bucket_is_the_last_group(aws: dict[str, str], unique_name: str) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket=unique_name)
    body = b'{"zarr_format": 2, "shape": [1]}'
    boto3.client("s3").put_object(Bucket=unique_name, Key="a/0/.zarray", Body=body)
    found = stored_array(f"s3://{unique_name}/a/0", "zarr")
    assert found is not None
    assert [g.place for g in found.groups] == [f"s3://{unique_name}/a", f"s3://{unique_name}"]


@pytest.mark.parametrize(
    ("text", "refused"), [("PERMISSION_DENIED: 403", True), ("UNAVAILABLE: reset", False)]
)
def test_a_folder_above_the_store_may_be_closed_to_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, refused: bool
) -> None:
    zarr.create_array(tmp_path / "a", shape=(1,), dtype="u1")
    read_metadata = metadata.read_metadata

    def read(place: str, name: str) -> Any:
        if place == f"file://{tmp_path}":
            raise StorageUnavailable(text) from ValueError(text)
        return read_metadata(place, name)

    monkeypatch.setattr(metadata, "read_metadata", read)
    if refused:
        found = stored_array(f"file://{tmp_path}/a", "zarr3")
        assert found is not None
        assert not found.groups[0].is_group
    else:  # what the group says would be lost
        with pytest.raises(StorageUnavailable):
            stored_array(f"file://{tmp_path}/a", "zarr3")


@pytest.mark.parametrize(
    ("driver", "file"),
    [("zarr", "a/.zattrs"), ("zarr", "a/0/.zattrs"), ("zarr3", "a/zarr.json"), ("zarr", ".zattrs")],
)
def test_metadata_that_is_not_json_is_an_error(tmp_path: Path, driver: Driver, file: str) -> None:
    """Without it, the array would lie elsewhere, with voxels of another size."""
    zarr.create_array(
        tmp_path / "a/0", shape=(1,), dtype="u1", zarr_format=3 if "3" in driver else 2
    )
    (tmp_path / file).write_text('{"multiscales": [')
    folder, name = file.rpartition("/")[::2]
    with pytest.raises(ConfigError, match=f"{folder}: {name}: is not JSON"):
        stored_array(f"file://{tmp_path}/a/0", driver)
