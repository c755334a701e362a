from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, StorageRefused
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume, format_to_create
from chunkflow_worker.volumes.open_volume import open_volume, volume_level
from tests.support.s3_semantics import S3Semantics

BOUNDS = BoundingBox.parse("-3-13_5-37_0-32")
SHAPE: dict[str, Any] = {
    "bounds": BOUNDS,
    "voxel_size": (40, 8, 8),
    "block_size": Vec3(8, 16, 16),
    "dtype": "uint8",
}
FORMATS = {"precomputed": "", "zarr": "zarr", "zarr2": "zarr", "zarr3": "zarr3", "n5": "n5"}
"""The format that an address names -> the driver of the new volume."""


@pytest.mark.parametrize(
    ("path", "name"),
    [*(("file", name) for name in FORMATS), ("s3", "precomputed"), ("s3", "zarr3"), ("mem", "n5")],
    indirect=["path"],
)
def test_the_format_before_or_after_the_path_or_none_is_the_same_volume(
    path: str, name: str
) -> None:
    driver = FORMATS[name]
    create_volume(f"{name}://{path}", **SHAPE, max_mip=1)
    for address in (f"{name}://{path}", f"{path}|{name}:", path):
        fine, coarse = open_volume(address), open_volume(address, 1)
        assert (fine.driver, fine.bounds, fine.voxel_size) == (driver, BOUNDS, (40, 8, 8))
        assert coarse.voxel_size == (40, 16, 16)
        level = volume_level(address, 1)
        assert (level.bounds, level.block_size) == (coarse.bounds, coarse.block_size)
    noise = np.random.default_rng(0).integers(1, 255, BOUNDS.size, np.uint8)
    open_volume(path, output=True).write(BOUNDS, noise)
    assert np.array_equal(open_volume(path).read(BOUNDS), noise)


@pytest.mark.parametrize("name", ["precomputed", "zarr2", "zarr3", "n5"])
def test_another_format_than_is_named_is_not_opened(tmp_path: Path, name: str) -> None:
    other = "n5" if name != "n5" else "precomputed"
    create_volume(f"{other}://file://{tmp_path}/v", **SHAPE)
    with pytest.raises(ConfigError, match=f"there is no {name} volume here\n +check the path"):
        open_volume(f"{name}://{tmp_path}/v")
    with pytest.raises(ConfigError, match="create it first"):
        open_volume(f"{name}://{tmp_path}/v", output=True)


def test_an_array_alone_has_one_mip(tmp_path: Path) -> None:
    create_volume(f"zarr3://{tmp_path}/v", **SHAPE, max_mip=1)
    assert open_volume(f"{tmp_path}/v/1").voxel_size == (40, 16, 16)
    with pytest.raises(ConfigError, match="mip 0 alone; give the path of its group"):
        open_volume(f"{tmp_path}/v/1", 1)
    with pytest.raises(ConfigError, match="the volume has mips 0 to 1"):
        open_volume(f"{tmp_path}/v", 2)


@pytest.mark.parametrize("name", ["precomputed", "zarr2", "zarr3", "n5"])
def test_who_may_not_list_a_bucket_opens_what_is_there(
    real_s3: S3Semantics, unique_name: str, name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    place = f"s3://{unique_name}/v"
    create_volume(f"{name}://{place}", **SHAPE)
    for absent in {"info", "zarr.json", ".zarray", "0/zarr.json"} - stored(unique_name):
        real_s3.fail(f"/{unique_name}/v/{absent}", "AccessDenied", 403, methods="GET HEAD")
    assert open_volume(place).driver == FORMATS[name]


def test_what_is_refused_is_no_absent_volume(real_s3: S3Semantics, unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.fail(f"/{unique_name}/v/", "AccessDenied", 403, methods="GET HEAD")
    with pytest.raises(StorageRefused):
        open_volume(f"s3://{unique_name}/v")


def stored(bucket: str) -> set[str]:
    return {
        found.key.removeprefix("v/") for found in boto3.resource("s3").Bucket(bucket).objects.all()
    }


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://lab/em", "precomputed"),
        ("s3://lab/em.zarr", "zarr"),
        ("s3://lab/em.n5/", "n5"),
        ("zarr3://s3://lab/em", "zarr3"),
        ("precomputed://s3://lab/em.zarr", "precomputed"),
    ],
)
def test_the_end_of_the_path_tells_the_format_of_a_new_volume(address: str, name: str) -> None:
    assert format_to_create(address) == name


def test_creating_it_again_changes_nothing_and_another_is_refused(path: str) -> None:
    for prefix in ("", "zarr3://"):
        address = f"{prefix}{path}{'z' if prefix else ''}"
        create_volume(address, **SHAPE)
        create_volume(address, **SHAPE)
        with pytest.raises(ConfigError, match="already exists here"):
            create_volume(address, **SHAPE | {"dtype": "uint16"})
