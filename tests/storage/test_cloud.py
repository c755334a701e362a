"""CloudVolume and cloudfiles: credentials, buckets and errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.exceptions
import cloudfiles.exceptions
import google.api_core.exceptions
import pytest
import requests

from chunkflow_worker.errors import ConfigError, StorageRefused, StorageUnavailable
from chunkflow_worker.storage import cloud
from chunkflow_worker.storage.cloud import check_access, prepare_environment, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.open_volume import volume_bounds
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.aws_keys import without_aws_keys
from tests.support.sample import BOUNDS, make


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"),
            "x cannot be reached",
        ),
        (botocore.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), "SlowDown"),
        (cloudfiles.exceptions.MD5IntegrityError("wrong sum"), "wrong sum"),
        (google.api_core.exceptions.ServiceUnavailable("try later"), "try later"),
        (requests.ConnectionError("x"), "cannot be reached: x"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_the_libraries_become_unavailable_storage(error: Exception, text: str) -> None:
    with (
        pytest.raises(StorageUnavailable, match=f"^the ledger: {text}") as caught,
        storage_errors("the ledger"),
    ):
        raise error
    assert not isinstance(caught.value, StorageRefused)
    assert type(error).__name__ not in str(caught.value)


def test_missing_credentials_are_reported_with_the_cure() -> None:
    with (
        pytest.raises(StorageRefused, match=r"(?s)^s3://a/b: no AWS credentials .* AWS_PROFILE"),
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


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without credentials of AWS and Google."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    without_aws_keys(monkeypatch, tmp_path)
    variables = {
        "AWS_REGION": "us-east-1",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "NO_GCE_CHECK": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)


READS: list[Callable[[str], object]] = [
    lambda path: Files(path).get_json("info"),
    lambda path: Files(path).list(),
    lambda path: PrecomputedVolume(path),
    lambda path: volume_bounds(path),
]


@pytest.mark.parametrize("read", READS, ids=["object", "list", "volume", "bounds"])
@pytest.mark.parametrize(
    ("path", "link", "cure"),
    [
        ("s3://lab-em/em", "https://s3.amazonaws.com/lab-em/em", "AWS_PROFILE"),
        ("gs://lab-em/em", "https://storage.googleapis.com/lab-em/em", "gcloud auth"),
    ],
)
def test_without_credentials_the_cure_is_told_at_once(
    nobody: None,
    path: str,
    link: str,
    cure: str,
    read: Callable[[str], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr("socket.socket.connect", pytest.fail)  # there is nobody to ask
    with pytest.raises(StorageRefused) as refused:
        read(path)
    assert waits == []
    problem, public, own = str(refused.value).splitlines()
    assert problem.startswith(f"{path}: no ")
    assert public.strip() == f"to read a public volume without: add --use-https, or give {link}"
    assert cure in own


SSO = """
[profile lab]
sso_start_url = https://x.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = reader
[profile new]
sso_session = s
sso_account_id = 123456789012
sso_role_name = reader
[sso-session s]
sso_start_url = https://x.awsapps.com/start
sso_region = us-east-1
"""


@pytest.mark.parametrize("profile", ["lab", "new"])
def test_a_login_that_is_missing_is_told_at_once(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    (tmp_path / "config").write_text(SSO)
    monkeypatch.setenv("AWS_PROFILE", profile)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageRefused) as refused:
        check_access("s3://lab-em/em")
    assert str(refused.value).splitlines() == [
        f"s3://lab-em/em: the SSO login of AWS profile {profile} is missing or has expired",
        f"    log in: aws sso login --profile {profile}",
    ]


def test_a_profile_that_is_unknown_is_told_with_the_known_ones(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(SSO)
    monkeypatch.setenv("AWS_PROFILE", "lap")
    with pytest.raises(StorageRefused, match=r"no AWS profile 'lap'\n.*known: lab, new$"):
        check_access("s3://lab-em/em")


def test_an_endpoint_that_is_no_url_is_a_mistake(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:5000")
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL: .*localhost:5000"):
        check_access(f"s3://{unique_name}/em")


def test_a_local_aws_that_does_not_run_is_told_at_once(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable, match=r"127.0.0.1:9 cannot be reached\n.* AWS_ENDPOINT"):
        check_access(f"s3://{unique_name}/em")


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_what_may_still_be_readable_is_not_refused_before(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def answer(*_: object, **__: object) -> None:
        raise botocore.exceptions.ClientError({"Error": {"Code": code}}, "ListObjectsV2")

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", answer)
    check_access(f"s3://{unique_name}/em")
    check_access(f"mem://{unique_name}/em")


@pytest.mark.parametrize(
    ("code", "attempts"), [("ExpiredToken", 1), ("AccessDenied", 1), ("InvalidAccessKeyId", 1)]
)
def test_a_refusal_is_not_tried_again(
    aws: dict[str, str],
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    attempts: int,
) -> None:
    """cloudfiles alone would try seven times, which takes half a minute."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    files = Files(f"s3://{unique_name}")
    files.put_json("a.json", 1)
    calls = []

    def answer(self: object, operation: str, *_: object) -> None:
        calls.append(operation)
        raise botocore.exceptions.ClientError({"Error": {"Code": code}}, operation)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", answer)
    for attempt in (
        lambda: files.get("a.json"),
        lambda: files.put("a.json", b"", "text/plain"),
        lambda: files.size("a.json"),
        lambda: files.list(),
    ):
        calls.clear()
        with pytest.raises(StorageRefused):
            attempt()
        assert len(calls) == attempts


def test_credentials_of_google_are_looked_up_once(
    nobody: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from google.auth.credentials import AnonymousCredentials

    found = []

    def default() -> tuple[AnonymousCredentials, None]:
        found.append(1)
        return AnonymousCredentials(), None

    monkeypatch.setattr("google.auth.default", default)
    for _ in range(2):
        check_access("gs://lab-some/em")
        cloud.cloud_files("gs://lab-some/em").cloudpath  # noqa: B018
    assert len(found) == 1
    assert capsys.readouterr().out == "", "cloudfiles prints a warning of several lines"
