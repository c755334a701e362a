"""Small objects in folders of tensorstore, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import boto3
import pytest

from chunkflow_worker.errors import (
    BlockDamaged,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.zarr import store
from chunkflow_worker.storage.zarr.store import (
    _has_credentials,
    delete,
    is_refused,
    read_bytes,
    read_json,
    store_errors,
    write_if_absent,
    write_json,
)


@pytest.fixture(params=["file", "mem", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> str:
    """A folder on a local disk, in memory or in S3."""
    if request.param == "file":
        return f"file://{tmp_path}/folder"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return f"{request.param}://{unique_name}/folder"


def test_objects_read_back(place: str) -> None:
    content, generation = read_json(place, "a.json")
    assert content is None
    assert write_json(place, "a.json", {"x": [1, "ä"]}, generation)
    assert read_json(place, "a.json")[0] == {"x": [1, "ä"]}
    assert read_json(f"{place}/below", "a.json")[0] is None


def test_an_object_that_has_changed_is_not_overwritten(place: str) -> None:
    _, before = read_json(place, "a.json")
    assert write_json(place, "a.json", 1, before)
    assert not write_json(place, "a.json", 2, before), "it has been made in the meantime"
    _, first = read_json(place, "a.json")
    assert write_json(place, "a.json", 3, first)
    assert not write_json(place, "a.json", 4, first), "it has changed in the meantime"
    assert read_json(place, "a.json")[0] == 3
    assert read_bytes(place, "a.json") == b"3"
    assert read_bytes(place, "b.json") is None


def test_an_object_is_deleted(place: str) -> None:
    write_if_absent(place, "a.json", 1)
    for _ in range(2):
        delete(place, "a.json")
        assert read_bytes(place, "a.json") is None


def test_an_object_that_exists_is_kept(place: str) -> None:
    write_if_absent(place, "a.json", "first")
    write_if_absent(place, "a.json", "second")
    assert read_json(place, "a.json")[0] == "first"


def test_of_many_writers_one_wins(place: str) -> None:
    _, generation = read_json(place, "a.json")
    together, results = Barrier(8), {}

    def write(i: int) -> None:
        together.wait(20)
        results[i] = write_json(place, "a.json", i, generation)

    threads = [Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [winner] = [i for i, written in results.items() if written]
    assert read_json(place, "a.json")[0] == winner


def test_content_that_is_not_json_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff{")
    assert read_json(f"file://{tmp_path}", "a.json")[0] is None


def test_objects_are_those_that_cloudfiles_reads(aws: dict[str, str], unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    write_if_absent(f"s3://{unique_name}/x", "a.json", {"by": "tensorstore"})
    assert Files(f"s3://{unique_name}/x").get_json("a.json") == {"by": "tensorstore"}


def test_a_bucket_that_does_not_exist_is_told(aws: dict[str, str], unique_name: str) -> None:
    with pytest.raises(ConfigError, match=f"s3://{unique_name}: bucket: there is no such bucket"):
        write_json(f"s3://{unique_name}/x", "a.json", 1, generation=b"")


@pytest.mark.parametrize(
    ("error", "reading", "kind"),
    [
        (ValueError("NOT_FOUND: chunk 0/0/0"), True, DataMissing),
        (ValueError("NOT_FOUND: no such array"), False, StorageUnavailable),
        (ValueError("FAILED_PRECONDITION: other metadata"), False, BlockDamaged),
        (ValueError("INVALID_ARGUMENT: bad JSON"), False, BlockDamaged),
        (ValueError("DATA_LOSS: blosc"), True, BlockDamaged),
        (IndexError("OUT_OF_RANGE: too short"), True, BlockDamaged),
        (OSError("UNAVAILABLE: No space left on device"), False, StorageFull),
        (OSError("UNKNOWN: Read-only file system"), False, StorageFull),
        (OSError("RESOURCE_EXHAUSTED: Disk quota exceeded"), False, StorageFull),
        (RuntimeError("UNAVAILABLE: connection reset"), True, StorageUnavailable),
        (NotImplementedError("UNIMPLEMENTED: x"), False, StorageUnavailable),
    ],
)
def test_errors_of_tensorstore_are_translated(
    error: Exception, reading: bool, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught, store_errors("em.zarr", reading):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == f"em.zarr: {error}"


def test_the_rest_of_its_text_is_cut_off() -> None:
    text = "DATA_LOSS: bad [tensorstore_spec='{\"driver\": \"zarr\"}'] [source locations='a.cc:1']"
    with pytest.raises(BlockDamaged, match=r"^em: DATA_LOSS: bad$"), store_errors("em"):
        raise ValueError(text)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", str(tmp_path / "none"))
    _has_credentials.cache_clear()
    yield
    _has_credentials.cache_clear()


def test_without_credentials_a_bucket_is_asked_as_by_anyone(
    aws: dict[str, str], unique_name: str, no_credentials: None
) -> None:
    """At once: tensorstore alone looks for credentials for minutes. Public buckets answer."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    boto3.client("s3", **keys).create_bucket(Bucket=unique_name)
    boto3.client("s3", **keys).put_object(Bucket=unique_name, Key="a/x.json", Body=b"1")
    with pytest.raises(
        StorageRefused, match=r": no AWS credentials were found\n.*PROFILE"
    ) as caught:
        read_json(f"s3://{unique_name}/a", "x.json")
    assert is_refused(caught.value)


def test_only_a_refusal_of_aws_is_a_matter_of_its_credentials(no_credentials: None) -> None:
    for text, place, told in (
        ("PERMISSION_DENIED: 403", "gs://em", "access denied"),
        ("UNAUTHENTICATED: 401", "https://host/em", "access denied"),
        ("PERMISSION_DENIED: 403", "s3://em", "no AWS credentials were found"),
    ):
        with pytest.raises(StorageRefused) as caught, store_errors(place):
            raise ValueError(text)
        assert str(caught.value).startswith(f"{place}: {told}\n")
    with (
        pytest.raises(StorageUnavailable, match=r"^s3://em: UNAVAILABLE: 503$"),
        store_errors("s3://em"),
    ):
        raise ValueError("UNAVAILABLE: 503")


def test_a_profile_that_is_unknown_is_told(
    no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lap")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(StorageRefused, match=r"^s3://em/x: there is no AWS profile 'lap'\n"):
        read_json("s3://em/x", ".zattrs")


def test_a_login_that_is_missing_is_told(
    no_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none").write_text(
        "[profile lab]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageRefused, match=r"log in: aws sso login --profile lab$"):
        read_json("s3://em/x", ".zattrs")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), store_errors("em"):
        raise KeyError("x")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("s3://lab/a", "127.0.0.1:9 cannot be reached"),
        ("http://127.0.0.1:9/a", "All 1 retry attempts failed"),
    ],
)
def test_a_service_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, path: str, told: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(store, "_RETRIES", {"max_retries": 1, "initial_delay": "1ms"})
    store._context.cache_clear()
    try:
        with pytest.raises(StorageUnavailable, match=told):
            read_bytes(path, "x")
    finally:
        store._context.cache_clear()
