"""Buckets of S3 in other regions, and with keys of their own."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.errors import StorageRefused
from chunkflow_worker.storage import bucket as buckets
from chunkflow_worker.storage.bucket import bucket_region, has_own_keys, s3_keys
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.zarr import store
from tests.support.s3_semantics import S3Semantics
from tests.support.sample import BOUNDS, make, noise


@pytest.fixture
def bucket(real_s3: S3Semantics, unique_name: str) -> str:
    """A bucket in eu-west-1; the variables name us-east-1."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.regions[unique_name] = "eu-west-1"
    return unique_name


def test_the_region_is_asked_for_once(real_s3: S3Semantics, bucket: str) -> None:
    assert [bucket_region(bucket) for _ in range(3)] == ["eu-west-1"] * 3
    asked = real_s3.requests[f"HEAD /{bucket}"]
    assert asked <= 2, "once, and again where S3 redirects to"


@pytest.mark.parametrize("status", [301, 400, 403])
def test_refusals_tell_the_region(real_s3: S3Semantics, bucket: str, status: int) -> None:
    real_s3.fail(f"/{bucket}", "AccessDenied", status, methods="HEAD")
    assert bucket_region(bucket) == "eu-west-1"


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("NotFound", 404), ("close", 0)])
def test_a_region_that_was_not_told_is_asked_for_again(
    real_s3: S3Semantics, bucket: str, code: str, status: int
) -> None:
    region = real_s3.regions.pop(bucket)
    real_s3.fail(f"/{bucket}", code, status, methods="HEAD")
    assert bucket_region(bucket) is None
    real_s3.heal()
    real_s3.regions[bucket] = region
    assert bucket_region(bucket) == region


def test_objects_volumes_and_zarr_stores_of_another_region_are_read_and_written(
    real_s3: S3Semantics, bucket: str
) -> None:
    path = f"s3://{bucket}/x"
    Files(path).put_json("a", 1)
    assert Files(path).get_json("a") == 1
    assert Files(path).size("a") == 1
    assert Files(path).list() == ["a"]
    Files(path).delete("a")
    make(f"{path}/em").write(BOUNDS, noise(BOUNDS))
    store.write_if_absent(f"{path}/em.zarr", ".zgroup", {"zarr_format": 2})
    metadata = {"shape": [4], "data_type": "uint8"}
    array = store.open_array(f"{path}/em.zarr/0", "zarr3", create=True, metadata=metadata)
    array[...] = 1
    assert list(array[...].read().result()) == [1] * 4


def test_a_region_that_cannot_be_found_is_told_by_what_is_read(
    real_s3: S3Semantics, bucket: str
) -> None:
    real_s3.fail(f"/{bucket}", methods="HEAD", code="SlowDown", status=503)
    buckets._regions.pop(bucket, None)
    real_s3.refuses = lambda key: None
    region = real_s3.regions.pop(bucket)
    assert bucket_region(bucket) is None
    real_s3.regions[bucket] = region
    spec = {"driver": "s3", "bucket": bucket, "endpoint": real_s3.url, "aws_region": "us-east-1"}
    with (
        pytest.raises(StorageRefused, match="the bucket is in another region"),
        store.store_errors(f"s3://{bucket}"),
    ):
        store.tensorstore().KvStore.open(spec).result().read("a").result()


def test_keys_of_one_bucket_are_those_of_all_that_read_it(
    real_s3: S3Semantics, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cloudfiles keeps them in ~/.cloudvolume/secrets."""
    monkeypatch.setattr("cloudfiles.secrets.CLOUD_VOLUME_SECRETS_DIR", str(tmp_path))
    assert not has_own_keys(bucket)
    keys = {"AWS_ACCESS_KEY_ID": "OWN", "AWS_SECRET_ACCESS_KEY": "own"}
    (tmp_path / f"{bucket}-aws-secret.json").write_text(json.dumps(keys))
    real_s3.refuses = lambda key: None if key == "OWN" else "InvalidAccessKeyId"
    assert tuple(s3_keys(bucket))[:3] == ("OWN", "own", None)
    Files(f"s3://{bucket}").put_json("a", 1)
    assert store.read_json(f"s3://{bucket}", "a")[0] == 1
