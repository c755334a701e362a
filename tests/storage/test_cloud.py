"""CloudVolume and cloudfiles: credentials, buckets and errors."""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

import boto3
import botocore.exceptions
import cloudfiles.exceptions
import google.api_core.exceptions
import pytest
import requests

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.storage.cloud import check_bucket, prepare_environment, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from tests.storage.sample import BOUNDS, make


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.EndpointConnectionError(endpoint_url="x"),
        botocore.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"),
        cloudfiles.exceptions.MD5IntegrityError("x"),
        google.api_core.exceptions.GoogleAPIError("x"),
        requests.ConnectionError("x"),
        OSError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_libraries_become_unavailable_storage(error: Exception) -> None:
    with (
        pytest.raises(StorageUnavailable, match=f"the ledger: {type(error).__name__}"),
        storage_errors("the ledger"),
    ):
        raise error


def test_missing_credentials_are_reported_with_the_cure() -> None:
    with (
        pytest.raises(StorageUnavailable, match=r"^s3://a/b: no AWS credentials .* AWS_PROFILE"),
        storage_errors("s3://a/b"),
    ):
        raise botocore.exceptions.NoCredentialsError


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), storage_errors("x"):
        1 / 0  # noqa: B018


def test_cloudfiles_finds_credentials_and_region_where_boto3_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "eu-west-1"}
    for name in ("AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    prepare_environment()
    assert os.environ["AWS_SESSION_TOKEN"] == ""
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
    }
    for name in names:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    prepare_environment()
    assert not names & set(os.environ)
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_a_prepared_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment is a variable absent, which another thread may read."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(os.environ, "pop", pytest.fail)
    before = dict(os.environ)
    prepare_environment()
    assert dict(os.environ) == before


def test_credentials_may_be_set_after_a_first_volume_was_opened(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook, by a user who first forgot them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    Files(f"mem://{unique_name}").put_json("a.json", 1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws["AWS_SECRET_ACCESS_KEY"])
    boto3.client("s3").create_bucket(Bucket=unique_name)
    Files(f"s3://{unique_name}").put_json("a.json", 2)
    assert Files(f"s3://{unique_name}").get_json("a.json") == 2


def test_local_keys_without_a_session_token_are_enough(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named defect of the peer: credentials were static keys alone, and no endpoint could be given.

    cloudfiles alone fails with KeyError: AWS_SESSION_TOKEN.
    """
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    boto3.client("s3").create_bucket(Bucket=unique_name)
    assert make(f"s3://{unique_name}/volume").bounds == BOUNDS


def test_a_bucket_that_does_not_exist_is_reported_at_once(
    aws: dict[str, str], unique_name: str
) -> None:
    """cloudfiles alone would retry for half a minute."""
    path, began = f"s3://{unique_name}/em", monotonic()
    for attempt in (
        lambda: Files(path).get_json("info"),
        lambda: Files(path).list(),
        lambda: Files(path).put_json("a.json", 1),
        lambda: PrecomputedVolume(path),
    ):
        with pytest.raises(
            ConfigError, match=f"s3://{unique_name}: bucket: there is no such bucket"
        ):
            attempt()
    assert monotonic() - began < 10
    boto3.client("s3").create_bucket(Bucket=unique_name)
    Files(path).put_json("a.json", 1)


def test_only_a_missing_bucket_is_reported_before_its_objects_are_read(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    check_bucket(f"s3://{unique_name}/em")
    check_bucket(f"gs://{unique_name}/em")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    check_bucket(f"s3://{unique_name}-2/em")
