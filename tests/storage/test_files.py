from __future__ import annotations

import threading
from pathlib import Path
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
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.storage.precomputed import PrecomputedVolume


@pytest.fixture(params=["file", "mem", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Files:
    """The same objects over a local folder, memory and S3."""
    if request.param == "file":
        return Files(str(tmp_path / "some folder"))
    if request.param == "s3":
        request.getfixturevalue("aws")
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return Files(f"{request.param}://{unique_name}/folder")


def test_objects_come_back(files: Files) -> None:
    assert files.get_json("a.json") is None
    assert files.list() == []
    files.put_json("a.json", {"x": [1, None, "ä"]})
    files.put_json("-8-0_0-1_0-1.json", 2)
    assert files.get_json("a.json") == {"x": [1, None, "ä"]}
    assert files.get_jsons(["-8-0_0-1_0-1.json", "absent", "a.json"]) == [
        2,
        None,
        {"x": [1, None, "ä"]},
    ]
    assert sorted(files.list()) == ["-8-0_0-1_0-1.json", "a.json"]
    files.put_json("a.json", 3)
    assert files.get_json("a.json") == 3
    files.delete("a.json")
    files.delete("a.json")
    assert files.list() == ["-8-0_0-1_0-1.json"]


def test_objects_in_folders_below_are_not_listed(files: Files) -> None:
    Files(f"{files.path}/below").put_json("b.json", 1)
    files.put_json("a.json", 1)
    assert "b.json" not in files.list()
    assert [n for n in files.list() if n.endswith(".json")] == ["a.json"]


def test_many_objects_at_once(files: Files) -> None:
    for i in range(30):
        files.put_json(f"{i}.json", i)
    assert files.get_jsons([f"{i}.json" for i in range(40)]) == [*range(30), *[None] * 10]
    assert files.get_jsons([]) == []


def test_many_objects_at_once_as_bytes_and_by_prefix(files: Files) -> None:
    contents = {f"{i}:0:0-4": bytes([i]) * 9 for i in range(30)}
    files.put_all(contents, "application/octet-stream")
    assert files.get_all([*contents, "absent"]) == contents | {"absent": None}
    assert files.get_all([]) == {}
    assert sorted(files.list("2:")) == ["2:0:0-4"]
    assert sorted(files.list("2")) == sorted(n for n in contents if n.startswith("2"))


def test_threads_may_share_it(files: Files) -> None:
    def write(i: int) -> None:
        files.put_json("same.json", {"text": str(i) * 10_000})

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    text = files.get_json("same.json")["text"]
    assert len(text) == 10_000
    assert len(set(text)) == 1
    assert files.list() == ["same.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"not json"])
def test_what_is_not_json_is_read_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert Files(str(tmp_path)).get_json("a.json") is None
    assert Files(str(tmp_path)).get_jsons(["a.json"]) == [None]


def test_a_folder_that_cannot_be_written_is_unavailable_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match=r"file/a\.json"):
        Files(str(tmp_path / "file")).put_json("a.json", 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x/", "s3://b/x"),
        ("precomputed://gs://b/x", "gs://b/x"),
        ("file:///x//", "file:///x"),
        ("/x/y/", "file:///x/y"),
    ],
)
def test_paths_have_one_form(path: str, expected: str) -> None:
    assert normal_path(path) == expected
    assert normal_path(expected) == expected


def test_a_path_without_a_protocol_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normal_path("x/y") == f"file://{tmp_path}/x/y"


def test_local_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert normal_path("file://x/y") == f"file://{tmp_path}/x/y"
    assert normal_path("file://~/x") == normal_path("~/x") == "file:///home/me/x"


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match="ftp://x"):
        normal_path("ftp://x")


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


def test_missing_credentials_are_told_with_the_cure() -> None:
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
    import os

    assert os.environ["AWS_SESSION_TOKEN"] == ""
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    prepare_environment()
    assert not {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
    } & set(os.environ)
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_a_bucket_that_does_not_exist_is_told_at_once(
    aws: dict[str, str], unique_name: str
) -> None:
    """cloudfiles alone would try on for half a minute."""
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


def test_only_the_absence_of_a_bucket_is_told_before_its_objects_are_asked_for(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    check_bucket(f"s3://{unique_name}/em")
    check_bucket(f"gs://{unique_name}/em")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    check_bucket(f"s3://{unique_name}-2/em")
