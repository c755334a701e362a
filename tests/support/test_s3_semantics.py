"""The S3 that behaves as AWS does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from tests.support.s3_semantics import ENCRYPTED, S3Semantics

BODY = b"voxels"
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def client(real_s3: S3Semantics, unique_name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=unique_name)
    client.put_object(Bucket=unique_name, Key="a/b", Body=BODY)
    return client


@pytest.mark.parametrize("how", ENCRYPTED)
def test_etags_of_encrypted_objects_are_no_md5s(
    real_s3: S3Semantics, client: Any, unique_name: str, how: str
) -> None:
    place = {"Bucket": unique_name, "Key": "a/b"}
    assert client.get_object(**place)["ETag"] == f'"{MD5}"'
    real_s3.encryption[unique_name] = how
    etags = {
        client.head_object(**place)["ETag"],
        client.get_object(**place)["ETag"],
        client.put_object(**place, Body=BODY)["ETag"],
        client.list_objects_v2(Bucket=unique_name)["Contents"][0]["ETag"],
    }
    [etag] = etags
    assert len(etag) == len(MD5) + 2
    assert MD5 not in etag
    assert client.get_object(**place, IfMatch=etag)["Body"].read() == BODY
    headers = client.get_object(**place)["ResponseMetadata"]["HTTPHeaders"]
    assert headers.items() >= ENCRYPTED[how].items()


def test_a_bucket_in_another_region_redirects(
    real_s3: S3Semantics, client: Any, unique_name: str
) -> None:
    real_s3.regions[unique_name] = "eu-west-1"
    url = client.generate_presigned_url("get_object", {"Bucket": unique_name, "Key": "a/b"})
    assert requests.get(url, timeout=5).status_code == 200, "its signature is not in the headers"
    away = boto3.client("s3", region_name="eu-west-1")
    assert away.get_object(Bucket=unique_name, Key="a/b")["Body"].read() == BODY
    client.get_object(Bucket=unique_name, Key="a/b")  # boto3 follows
    assert real_s3.refused["PermanentRedirect"] == 1


FAULTS: list[tuple[Callable[[S3Semantics, str], None], str]] = [
    (lambda s3, bucket: s3.fail(f"/{bucket}/a/"), "SlowDown"),
    (lambda s3, bucket: s3.fail(f"/{bucket}/a/", methods="GET", count=1), "SlowDown"),
    (lambda s3, bucket: setattr(s3, "refuses", lambda key: "ExpiredToken"), "ExpiredToken"),
]


@pytest.mark.parametrize(("spoil", "code"), FAULTS)
def test_chosen_requests_fail(
    real_s3: S3Semantics,
    client: Any,
    unique_name: str,
    spoil: Callable[[S3Semantics, str], None],
    code: str,
) -> None:
    spoil(real_s3, unique_name)
    with pytest.raises(ClientError, match=code):
        client.get_object(Bucket=unique_name, Key="a/b")
    real_s3.heal()
    real_s3.refuses = lambda key: None
    client.get_object(Bucket=unique_name, Key="a/b")


def test_a_fault_is_for_its_prefix_and_its_methods(
    real_s3: S3Semantics, client: Any, unique_name: str
) -> None:
    real_s3.fail(f"/{unique_name}/c/")
    real_s3.fail(f"/{unique_name}/a/", methods="PUT DELETE")
    client.get_object(Bucket=unique_name, Key="a/b")
    with pytest.raises(ClientError, match="SlowDown"):
        client.put_object(Bucket=unique_name, Key="a/b", Body=BODY)


def test_a_body_arrives_damaged(real_s3: S3Semantics, client: Any, unique_name: str) -> None:
    real_s3.damaged.add(f"/{unique_name}/a/")
    url = client.generate_presigned_url("get_object", {"Bucket": unique_name, "Key": "a/b"})
    body = requests.get(url, timeout=5).content
    assert len(body) == len(BODY)
    assert body != BODY
