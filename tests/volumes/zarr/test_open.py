"""Stored arrays opened by tensorstore, and what can't be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import numcodecs
import numpy as np
import pytest
import zarr

from chunkflow_worker.config.largest_block import VARIABLE
from chunkflow_worker.errors import ConfigError, DataMissing, DataRefused
from chunkflow_worker.volumes.zarr.metadata import Driver, stored_array
from chunkflow_worker.volumes.zarr.open import open_stored
from chunkflow_worker.volumes.zarr.volume import open_zarr
from tests.support.n5 import write_n5

VOXELS = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)


def opened(folder: Path, driver: Driver) -> Any:
    array = stored_array(f"file://{folder}", driver)
    assert array is not None
    return open_stored(array, fill_missing=False)


@pytest.mark.parametrize(
    "attributes",
    [
        {"axes": "xyz"},
        {"axes": ["x", "x", "y"]},
        {"units": "nm"},
        {"resolution": [4, 4]},
        {"resolution": "4 4 40", "units": ["nm"]},
    ],
)
def test_attributes_of_n5_need_not_be_those_that_tensorstore_knows(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    write_n5(tmp_path / "a", VOXELS.T, attributes)
    assert np.array_equal(opened(tmp_path / "a", "n5").read().result(), VOXELS.T)
    content = json.loads((tmp_path / "a" / "attributes.json").read_text())
    assert attributes.items() <= content.items(), "they are kept"


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": {"type": "gzip", "level": 3, "nthreads": 4}},  # as z5py
        {"compression": {"type": "gzip", "level": -1, "useZlib": False}},  # as Java
        {"compression": None, "compressionType": "gzip"},  # before N5 2.0
    ],
)
def test_compressions_of_n5_in_the_words_of_other_programs(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    write_n5(tmp_path / "a", VOXELS.T, changes)
    assert np.array_equal(opened(tmp_path / "a", "n5").read().result(), VOXELS.T)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"compression": {"type": "lz4"}}, r"compression can't be read: lz4\n.*gzip can be read"),
        ({"compression": {"type": "jpeg"}}, "compression can't be read: jpeg"),
        ({"dataType": "string"}, r"its voxels are no numbers: string\n.*integers, floats"),
        ({"blockSize": [4, 4]}, 'can\'t be used: object member "blockSize"'),
        ({"isLabelMultiset": True}, r"Paintera's label multisets.*\n.*scalar labels"),
    ],
)
def test_what_of_n5_can_not_be_read_is_told_in_plain_words(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    write_n5(tmp_path / "a", VOXELS.T, changes)
    with pytest.raises(ConfigError, match=f"a: attributes.json: .*{text}"):
        opened(tmp_path / "a", "n5")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"compressors": numcodecs.LZ4()}, r"its compression can't be read: lz4\n.*zstd"),
        ({"filters": [numcodecs.Delta(dtype="u2")]}, "its compression can't be read: filters"),
        ({"dtype": "U3"}, "its voxels are no numbers: <U3"),
        ({"dtype": "M8[s]"}, "its voxels are no numbers: <M8"),
        ({"dtype": np.dtype([("a", "u1"), ("b", "u2")])}, "its voxels are no numbers: records"),
    ],
)
def test_what_of_zarr_can_not_be_read_is_told_in_plain_words(
    tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    made = {"shape": (4, 4, 4), "dtype": "u2"} | options
    zarr.create_array(tmp_path / "a", zarr_format=2, **made)
    with pytest.raises(ConfigError, match=f"a: .zarray: {text}"):
        opened(tmp_path / "a", "zarr")


def test_nested_blocks_of_old_versions_of_zarr(tmp_path: Path) -> None:
    """Their NestedDirectoryStore, which chunkflow 1.2.0 uses, does not tell how it names blocks."""
    for name, separator in (("nested", "/"), ("flat", ".")):
        keys = {"name": "v2", "separator": separator}
        made = zarr.create_array(
            tmp_path / name,
            shape=VOXELS.shape,
            chunks=(2, 2, 2),
            dtype="u2",
            zarr_format=2,
            chunk_key_encoding=keys,
        )
        made[:] = VOXELS + 1
        file = tmp_path / name / ".zarray"
        content = json.loads(file.read_text())
        content.pop("dimension_separator", None)
        file.write_text(json.dumps(content))
        volume = open_zarr(f"{tmp_path}/{name}")
        assert volume is not None
        assert np.array_equal(volume.read(volume.bounds), VOXELS + 1)
    (tmp_path / "nested" / "0" / "0" / "1").unlink()
    volume = open_zarr(f"{tmp_path}/nested")
    assert volume is not None
    with pytest.raises(DataMissing, match="lacks 1 blocks"):
        volume.read(volume.bounds)


@pytest.mark.parametrize("block", [(0, 0, 0), (0, 1, 1), (1, 2, 3)])
@pytest.mark.parametrize("protocol", ["file", "s3"])
def test_nested_blocks_are_found_although_blocks_of_zeros_are_absent(
    tmp_path: Path, aws: dict[str, str], unique_name: str, block: tuple[int, ...], protocol: str
) -> None:
    """zarr-python does not store blocks of zeros; with flat names, all would be read as zeros."""
    keys = {"name": "v2", "separator": "/"}
    options: dict[str, Any] = {"shape": VOXELS.shape, "chunks": (2, 2, 2), "dtype": "u2"}
    made = zarr.create_array(tmp_path / "a", zarr_format=2, chunk_key_encoding=keys, **options)
    z, y, x = (2 * n for n in block)
    made[z : z + 2, y : y + 2, x : x + 2] = 7
    file = tmp_path / "a/.zarray"
    content = json.loads(file.read_text())
    del content["dimension_separator"]
    file.write_text(json.dumps(content))
    path = f"{tmp_path}/a"
    if protocol == "s3":
        path = f"s3://{unique_name}/a"
        boto3.client("s3").create_bucket(Bucket=unique_name)
        for name in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
            key = str(name.relative_to(tmp_path))
            boto3.client("s3").upload_file(str(name), unique_name, key)
    volume = open_zarr(path, fill_missing=True)
    assert volume is not None
    assert np.count_nonzero(volume.read(volume.bounds) == 7) == 8


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_blocks_above_the_bound_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver
) -> None:
    """tensorstore ends the process when it finds no memory for one."""
    if driver == "n5":
        write_n5(tmp_path / "a", VOXELS.T)
    else:
        version = 2 if driver == "zarr" else 3
        zarr.create_array(tmp_path / "a", data=VOXELS, chunks=(4, 6, 8), zarr_format=version)
    opened(tmp_path / "a", driver)
    monkeypatch.setenv(VARIABLE, "100")
    with pytest.raises(DataRefused, match=r"a: a block has \d+ bytes unpacked"):
        opened(tmp_path / "a", driver)


def test_the_blocks_in_a_shard_count_and_not_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr.create_array(tmp_path / "a", data=VOXELS, chunks=(2, 2, 2), shards=(4, 6, 8))
    monkeypatch.setenv(VARIABLE, "16")
    assert np.array_equal(opened(tmp_path / "a", "zarr3").read().result(), VOXELS)


def test_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    """tensorstore ends the process here, too."""
    zarr.create_array(
        tmp_path / "a", shape=(1 << 20,) * 3, chunks=(8, 8, 8), dtype="u1", fill_value=0
    )
    volume = open_zarr(str(tmp_path / "a"), fill_missing=True)
    assert volume is not None
    with pytest.raises(DataRefused, match="half of the memory"):
        volume.read(volume.bounds)
