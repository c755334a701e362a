"""Folders as tensorstore's key-value stores."""

from __future__ import annotations

import boto3
import pytest

from chunkflow_worker.volumes.zarr.kvstore import bucket_of, kvstore
from tests.support.s3_semantics import S3Semantics


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("file:///data/em", {"driver": "file", "path": "/data/em/"}),
        ("mem://em", {"driver": "memory", "path": "em/"}),
        ("https://host/a b", {"driver": "http", "base_url": "https://host/a%20b/"}),
        ("gs://lab/em", {"driver": "gcs", "bucket": "lab", "path": "em/"}),
        ("gs://lab", {"driver": "gcs", "bucket": "lab", "path": ""}),
    ],
)
def test_a_folder_is_named_by_driver_and_path(place: str, expected: dict[str, str]) -> None:
    assert kvstore(place) == expected


def test_a_folder_of_s3_has_endpoint_credentials_and_the_region_of_its_bucket(
    real_s3: S3Semantics, unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.regions[unique_name] = "eu-west-1"
    assert kvstore(f"s3://{unique_name}/em") == {
        "driver": "s3",
        "bucket": unique_name,
        "path": "em/",
        "endpoint": real_s3.url,
        "aws_region": "eu-west-1",
        "aws_credentials": {"type": "environment"},
    }


def test_the_region_that_is_set_counts_while_s3_does_not_tell_it(
    real_s3: S3Semantics, unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.fail(f"/{unique_name}", methods="HEAD")
    assert kvstore(f"s3://{unique_name}/em")["aws_region"] == "us-east-1"


def test_a_bucket_has_a_name() -> None:
    assert bucket_of("s3://lab/em/x") == bucket_of("gs://lab") == "lab"
