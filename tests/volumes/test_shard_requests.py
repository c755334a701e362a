"""Requests to S3 for real voxels in blocks and in shards."""

from __future__ import annotations

from collections import Counter
from typing import Any

import boto3
import h5py
import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.volume import blocks_of
from tests.support.paths import DATA
from tests.support.s3_semantics import S3Semantics

FILE = DATA / "fib25" / "training_sample2.h5"
BLOCK, SHARD = Vec3(32, 32, 32), Vec3(64, 64, 64)
CORNER = BoundingBox.sized((0, 0, 0), SHARD)

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="fib25 is not in CHUNKFLOW_TEST_DATA")


def requests(s3: S3Semantics, bucket: str) -> Counter[str]:
    """The number of requests for blocks and shards since the last call, by method."""
    found: Counter[str] = Counter()
    for line, count in s3.requests.items():
        method, path = line.split(" ", 1)
        if path.startswith((f"/{bucket}/v/10_10_10/", f"/{bucket}/v/0/c/")):
            found[method] += count
    s3.requests.clear()
    return found


@pytest.mark.parametrize(
    ("prefix", "shard_size", "puts", "most_gets"),
    [
        ("precomputed", None, 64, 8),
        ("precomputed", SHARD, 8, 10),  # with the two parts of the index
        ("zarr3", None, 64, 8),
        ("zarr3", SHARD, 8, 9),
    ],
)
def test_each_shard_is_written_by_one_request(
    real_s3: S3Semantics,
    unique_name: str,
    prefix: str,
    shard_size: Vec3 | None,
    puts: int,
    most_gets: int,
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    with h5py.File(FILE) as file:
        image = file["raw"][:100, :110, :120]
    bounds = BoundingBox.sized((0, 0, 0), image.shape)
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": (10, 10, 10), "dtype": "uint8"}
    address = f"{prefix}://s3://{unique_name}/v"
    create_volume(address, **shape, block_size=BLOCK, shard_size=shard_size)
    volume = open_volume(address)
    requests(real_s3, unique_name)
    boxes = list(bounds.split(SHARD))
    for box in boxes:
        volume.write(box, image[box.slices()])
    written = requests(real_s3, unique_name)
    blocks = [*blocks_of(volume, bounds)]
    assert written["PUT"] == puts == len(blocks)
    # tensorstore reads blocks of Zarr that are cut off at the end of the volume, before it writes.
    cut_off = sum(block.size != volume.block_size for block in blocks)
    assert written["GET"] == (cut_off if prefix == "zarr3" else 0)
    assert np.array_equal(volume.read(CORNER), image[CORNER.slices()])
    read = requests(real_s3, unique_name)
    assert read.keys() == {"GET"}
    assert read["GET"] <= most_gets
