"""Credentials that are renewed while a process runs reach boto3, cloudfiles and tensorstore."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
import requests

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.report import aws_session
from chunkflow_worker.report.unavailable import is_overload
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.zarr import credentials as module
from chunkflow_worker.volumes.zarr import store
from chunkflow_worker.volumes.zarr.credentials import credentials
from chunkflow_worker.volumes.zarr.kvstore import has_credentials, kvstore
from tests.support.aws_keys import without_aws_keys
from tests.support.s3_semantics import S3Semantics
from tests.support.web_server import web_server


def _keys(key: str, token: str) -> str:
    until = datetime.now(UTC) + timedelta(minutes=2)  # boto3 asks again in the last 15 minutes
    names = {"AccessKeyId": key, "SecretAccessKey": "s", token: "t", "Version": 1}
    return json.dumps(names | {"Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")})


@pytest.fixture
def bucket(
    real_s3: S3Semantics, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A bucket, and a user who has no credentials in variables."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    without_aws_keys(monkeypatch, tmp_path)
    monkeypatch.setattr(aws_session, "_READ_AGAIN_SECONDS", 0)
    monkeypatch.setattr(module, "_VALID_SECONDS", 0)
    has_credentials.cache_clear()
    yield unique_name
    has_credentials.cache_clear()


Renew = Callable[[str], object]


@pytest.fixture
def in_a_file(tmp_path: Path) -> Renew:
    """Keys in ~/.aws/credentials, which another program replaces."""
    return lambda key: (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\naws_session_token=t\n"
    )


@pytest.fixture
def of_a_process(tmp_path: Path) -> Renew:
    """A credential_process."""
    program, answer = tmp_path / "program.py", tmp_path / "answer"
    program.write_text(f"print(open({str(answer)!r}).read())")
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = {sys.executable} {program}\n"
    )
    return lambda key: answer.write_text(_keys(key, "SessionToken"))


@pytest.fixture
def of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Renew]:
    """The address from which containers of ECS and EKS get their role's keys."""
    (tmp_path / "served").mkdir()
    with web_server(tmp_path / "served") as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.address}/keys")
        yield lambda key: (tmp_path / "served" / "keys").write_text(_keys(key, "Token"))


@pytest.mark.parametrize("where", ["in_a_file", "of_a_process", "of_a_container"])
def test_renewed_credentials_reach_all_that_is_open(
    real_s3: S3Semantics, bucket: str, where: str, request: pytest.FixtureRequest
) -> None:
    """S3 refuses the old ones from the moment on at which there are new ones."""
    renew: Renew = request.getfixturevalue(where)
    accepted = [""]
    real_s3.refuses = lambda key: None if key == accepted[0] else "ExpiredToken"

    def next_keys(name: str) -> None:
        accepted[0] = name
        renew(name)

    next_keys("FIRST")
    client = aws_session.aws_session().client("s3")
    files = Files(f"s3://{bucket}/x")
    files.put_json("a", 1)
    metadata = {"shape": [4], "data_type": "uint8"}
    array = store.open_array(f"s3://{bucket}/z", "zarr3", create=True, metadata=metadata)
    for name in ("SECOND", "THIRD"):
        next_keys(name)
        assert client.get_object(Bucket=bucket, Key="x/a")["ContentLength"] == 1
        assert files.get_json("a") == 1
        array[...] = 1
        assert list(array[...].read().result()) == [1] * 4
        assert store.read_metadata(f"s3://{bucket}/z", "zarr.json")["shape"] == [4]
    assert real_s3.refused["ExpiredToken"] == 0


def test_only_who_has_the_token_gets_the_keys(bucket: str, in_a_file: Renew) -> None:
    in_a_file("FIRST")
    served = credentials(bucket)
    assert served["endpoint"].startswith("http://127.0.0.1:")
    token_file = Path(served["auth_token_file"])
    assert token_file.parent.stat().st_mode & 0o077 == 0
    for token in ("", "x", "ü"):
        answer = requests.get(
            served["endpoint"], headers={"Authorization": token.encode()}, timeout=5
        )
        assert answer.status_code == 403
        assert "FIRST" not in answer.text
    token = token_file.read_text()
    answer = requests.get(served["endpoint"], headers={"Authorization": token}, timeout=5)
    assert answer.json()["AccessKeyId"] == "FIRST"
    assert answer.json()["Token"] == "t"


def test_a_source_of_credentials_that_fails_is_told(
    bucket: str, in_a_file: Renew, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with its cause, which tensorstore does not tell."""
    in_a_file("FIRST")
    store.write_if_absent(f"s3://{bucket}/x", "a", 1)
    with monkeypatch.context() as failing:
        failing.setattr(module, "s3_keys", lambda bucket: None)
        with pytest.raises(StorageUnavailable, match="Failed to get credentials") as caught:
            store.read_json(f"s3://{bucket}/x", "a")
    assert is_overload(caught.value)
    assert store.read_json(f"s3://{bucket}/x", "a")[0] == 1
    assert [record.message.partition(", after")[0] for record in caplog.records] == [
        "the source of AWS credentials does not answer, retrying: no AWS credentials were found",
        "the source of AWS credentials answers again",
    ]


def test_keys_in_variables_are_read_by_tensorstore_itself(
    real_s3: S3Semantics, unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.refuses = lambda key: None if key == os.environ["AWS_ACCESS_KEY_ID"] else "ExpiredToken"
    assert kvstore(f"s3://{unique_name}/x")["aws_credentials"] == {"type": "environment"}
    store.write_if_absent(f"s3://{unique_name}/x", "a", 1)
    assert store.read_json(f"s3://{unique_name}/x", "a")[0] == 1
