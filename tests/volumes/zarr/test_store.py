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
from chunkflow_worker.volumes.zarr import store
from chunkflow_worker.volumes.zarr.kvstore import has_credentials
from chunkflow_worker.volumes.zarr.store import (
    delete,
    is_refused,
    read_bytes,
    read_json,
    store_errors,
    write_if_absent,
    write_json,
)
from tests.support.aws_keys import without_aws_keys
from tests.support.s3_semantics import S3Semantics

ABSENT = b"\x02"  # what tensorstore calls the generation of an object that does not exist


def test_objects_read_back(path: str) -> None:
    content, generation = read_json(path, "a.json")
    assert content is None
    assert write_json(path, "a.json", {"x": [1, "ä"]}, generation)
    assert read_json(path, "a.json")[0] == {"x": [1, "ä"]}
    assert read_json(f"{path}/below", "a.json")[0] is None


def test_an_object_that_has_changed_is_not_overwritten(path: str) -> None:
    _, before = read_json(path, "a.json")
    assert write_json(path, "a.json", 1, before)
    assert not write_json(path, "a.json", 2, before), "it has been made in the meantime"
    _, first = read_json(path, "a.json")
    assert write_json(path, "a.json", 3, first)
    assert not write_json(path, "a.json", 4, first), "it has changed in the meantime"
    assert read_json(path, "a.json")[0] == 3
    assert read_bytes(path, "a.json") == b"3"
    assert read_bytes(path, "b.json") is None


def test_objects_of_an_encrypted_bucket_are_guarded_likewise(
    real_s3: S3Semantics, unique_name: str
) -> None:
    """Their ETags, by which tensorstore tells that an object has changed, are no MD5s."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    real_s3.encryption[unique_name] = "kms"
    path = f"s3://{unique_name}/x"
    test_objects_read_back(path)
    delete(path, "a.json")
    test_an_object_that_has_changed_is_not_overwritten(path)
    metadata = {"shape": [4], "data_type": "uint8"}
    array = store.open_array(f"{path}/0", "zarr3", create=True, metadata=metadata)
    array[...] = 1
    assert list(array[...].read().result()) == [1] * 4


@pytest.mark.parametrize(
    ("code", "status", "problem"),
    [
        ("ExpiredToken", 400, "the AWS credentials have expired\n"),
        ("AuthorizationHeaderMalformed", 400, "the bucket is in another region\n"),
        ("AccessDenied", 403, "access denied\n"),
    ],
)
def test_answers_of_s3_that_a_person_must_act_on_are_refusals(
    real_s3: S3Semantics, unique_name: str, code: str, status: int, problem: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    write_if_absent(f"s3://{unique_name}", "a.json", 1)
    real_s3.fail(f"/{unique_name}/a", code, status)
    with pytest.raises(StorageRefused, match=f"^s3://{unique_name}: {problem}"):
        read_json(f"s3://{unique_name}", "a.json")


def test_an_object_is_deleted(path: str) -> None:
    write_if_absent(path, "a.json", 1)
    for _ in range(2):
        delete(path, "a.json")
        assert read_bytes(path, "a.json") is None


def test_an_object_that_exists_is_kept(path: str) -> None:
    write_if_absent(path, "a.json", "first")
    write_if_absent(path, "a.json", "second")
    assert read_json(path, "a.json")[0] == "first"


def test_of_many_writers_one_wins(path: str) -> None:
    _, generation = read_json(path, "a.json")
    together, results = Barrier(8), {}

    def write(i: int) -> None:
        together.wait(20)
        results[i] = write_json(path, "a.json", i, generation)

    threads = [Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [winner] = [i for i, written in results.items() if written]
    assert read_json(path, "a.json")[0] == winner


def test_content_that_is_not_json_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff{")
    assert read_json(f"file://{tmp_path}", "a.json")[0] is None


def test_objects_are_those_that_cloudfiles_reads(aws: dict[str, str], unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    write_if_absent(f"s3://{unique_name}/x", "a.json", {"by": "tensorstore"})
    assert Files(f"s3://{unique_name}/x").get_json("a.json") == {"by": "tensorstore"}


@pytest.mark.parametrize("generation", [b"", ABSENT], ids=["whatever is there", "if absent"])
def test_a_bucket_that_does_not_exist_is_told(
    aws: dict[str, str], unique_name: str, generation: bytes
) -> None:
    path = f"s3://{unique_name}"
    with pytest.raises(ConfigError, match=f"^{path}: bucket: there is no such bucket"):
        write_json(f"{path}/x", "a.json", 1, generation)


def test_a_store_in_such_a_bucket_is_not_waited_for(aws: dict[str, str], unique_name: str) -> None:
    path = f"s3://{unique_name}"
    with pytest.raises(ConfigError, match=f"^{path}: bucket: there is no such bucket"):
        write_if_absent(f"{path}/x.zarr", ".zgroup", {"zarr_format": 2})


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


@pytest.mark.parametrize("path", ["s3://my bucket/em", "s3://l&b/em", "gs://Lab/em", "gs://a/em"])
def test_a_bucket_that_cannot_exist_is_a_mistake_of_the_user(
    aws: dict[str, str], path: str
) -> None:
    bucket = path.partition("://")[2].partition("/")[0]
    with pytest.raises(ConfigError) as mistake:
        read_json(path, "a.json")
    assert bucket in str(mistake.value)
    assert "is not the name of a bucket\n" in str(mistake.value)
    assert "3 to 63" in str(mistake.value)


@pytest.mark.parametrize(
    ("path", "endpoint", "cure"),
    [
        (
            "s3://bucket/em",
            "http://127.0.0.1:9",
            "\n    check that it runs there, and AWS_ENDPOINT_URL",
        ),
        ("s3://bucket/em", "", ""),
        ("gs://bucket/em", "http://127.0.0.1:9", ""),
        ("https://host/em", "", ""),
    ],
)
def test_a_server_that_does_not_answer_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, path: str, endpoint: str, cure: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    reason = "Failed to connect to host port 9 after 0 ms: Could not connect to server"
    text = f"CURL error Could not connect to server: {reason} [curl_code='7']"
    with pytest.raises(StorageUnavailable) as told, store_errors(path):
        raise ValueError(f"ABORTED: All 6 retry attempts failed: {text}")
    assert str(told.value) == f"{path}: cannot be reached: {reason}{cure}"


def test_google_credentials_that_are_refused_need_a_login() -> None:
    with pytest.raises(StorageRefused) as told, store_errors("gs://bucket/em"):
        raise ValueError("PERMISSION_DENIED: Anonymous caller does not have access")
    assert "access denied\n    log in: gcloud auth application-default login" in str(told.value)


def test_the_rest_of_its_text_is_cut_off() -> None:
    text = "DATA_LOSS: bad [tensorstore_spec='{\"driver\": \"zarr\"}'] [source locations='a.cc:1']"
    with pytest.raises(BlockDamaged, match=r"^em: DATA_LOSS: bad$"), store_errors("em"):
        raise ValueError(text)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    without_aws_keys(monkeypatch, tmp_path)
    has_credentials.cache_clear()
    yield
    has_credentials.cache_clear()


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
    for text, path, told in (
        ("PERMISSION_DENIED: 403", "gs://em", "access denied"),
        ("UNAUTHENTICATED: 401", "https://host/em", "access denied"),
        ("PERMISSION_DENIED: 403", "s3://em", "no AWS credentials were found"),
    ):
        with pytest.raises(StorageRefused) as caught, store_errors(path):
            raise ValueError(text)
        assert str(caught.value).startswith(f"{path}: {told}\n")
    with (
        pytest.raises(StorageUnavailable, match=r"^s3://em: UNAVAILABLE: 503$"),
        store_errors("s3://em"),
    ):
        raise ValueError("UNAVAILABLE: 503")


def test_a_profile_that_is_unknown_is_told(
    no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lap")
    with pytest.raises(StorageRefused, match=r"^s3://em/x: there is no AWS profile 'lap'\n"):
        read_json("s3://em/x", ".zattrs")


def test_a_login_that_is_missing_is_told(
    no_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(
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


@pytest.mark.parametrize("protocol", ["s3", "http"])
def test_a_service_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(store, "_RETRIES", {"max_retries": 1, "initial_delay": "1ms"})
    store._context.cache_clear()
    try:
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            read_bytes(f"{protocol}://127.0.0.1:9/a" if protocol == "http" else "s3://lab/a", "x")
    finally:
        store._context.cache_clear()
