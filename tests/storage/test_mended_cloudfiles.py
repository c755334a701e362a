"""cloudfiles in buckets that are encrypted, and with objects uploaded in parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
from boto3.s3.transfer import TransferConfig
from cloudfiles import CloudFiles, secrets
from cloudfiles.interfaces import GoogleCloudStorageInterface
from google.api_core.exceptions import RetryError, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.storage.cloud import cloud_files
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.mended_cloudfiles import mend_cloudfiles
from chunkflow_worker.volumes.open_volume import volume_bounds
from chunkflow_worker.volumes.volume import blocks_of
from tests.support.s3_semantics import ENCRYPTED, S3Semantics
from tests.support.sample import BOUNDS, make, noise

CONTENT = b'{"a": 1}'


@pytest.fixture
def path(real_s3: S3Semantics, unique_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a bucket, with an object `a`; cloudfiles does not wait before it tries again."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    boto3.client("s3").create_bucket(Bucket=unique_name)
    Files(f"s3://{unique_name}/x").put("a", CONTENT, "application/json")
    return f"s3://{unique_name}/x"


def _moved(path: str, folder: Path) -> bytes:
    cloud_files(path).transfer_to(f"file://{folder}", paths=["a"])
    return (folder / "a").read_bytes()


def _copied(path: str) -> bytes | None:
    cloud_files(path).transfer_to(f"{path}-copy")
    return Files(f"{path}-copy").get("a")


WORKS: dict[str, Callable[[str, Path], object]] = {
    "get": lambda path, folder: Files(path).get("a") == CONTENT,
    "get many": lambda path, folder: Files(path).get_all(["a", "b"]) == {"a": CONTENT, "b": None},
    "get raw": lambda path, folder: cloud_files(path).get("a", raw=True) == CONTENT,
    "get a range": lambda path, folder: cloud_files(path)["a", 2:3] == CONTENT[2:3],
    "size": lambda path, folder: Files(path).size("a") == len(CONTENT),
    "list": lambda path, folder: Files(path).list() == ["a"],
    "exists": lambda path, folder: cloud_files(path).exists("a"),
    "head": lambda path, folder: cloud_files(path).head("a")["Content-Length"] == len(CONTENT),
    "transfer to a disk": lambda path, folder: _moved(path, folder) == CONTENT,
    "transfer": lambda path, folder: _copied(path) == CONTENT,
    "write": lambda path, folder: Files(path).put_json("b", 1) is None,
}


@pytest.mark.parametrize("encryption", ["", *ENCRYPTED])
def test_objects_are_read_and_written(
    real_s3: S3Semantics, path: str, unique_name: str, encryption: str, tmp_path: Path
) -> None:
    real_s3.encryption[unique_name] = encryption
    for name, works in WORKS.items():
        assert works(path, tmp_path / name), name


@pytest.mark.parametrize("encryption", ["", *ENCRYPTED])
def test_a_body_that_arrives_damaged_is_refused(
    real_s3: S3Semantics, path: str, unique_name: str, encryption: str
) -> None:
    """By its MD5 where the ETag is one, and by its CRC32C where it is not."""
    real_s3.encryption[unique_name] = encryption
    real_s3.damaged.add(f"/{unique_name}/x/a")
    problem = "CRC32C of what arrived" if encryption else "failed its md5 check"
    for read in (Files(path).get, lambda name: Files(path).get_all([name])):
        with pytest.raises(StorageUnavailable, match=problem):
            read("a")


def test_an_encrypted_object_without_a_checksum_is_read(
    real_s3: S3Semantics, path: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older programs have written it."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    boto3.client("s3").put_object(Bucket=unique_name, Key="x/old", Body=CONTENT)
    real_s3.encryption[unique_name] = "kms"
    assert Files(path).get("old") == CONTENT


@pytest.mark.parametrize("encryption", ["", "kms"])
@pytest.mark.parametrize("mebibytes", [5, 6, 7])
def test_objects_uploaded_in_parts_of_any_size_are_read(
    real_s3: S3Semantics, path: str, unique_name: str, encryption: str, mebibytes: int
) -> None:
    """cloudfiles guesses the size of the parts, and takes those of others for damaged."""
    real_s3.encryption[unique_name] = encryption
    content = np.random.default_rng(1).bytes(8 * 2**20)
    size = mebibytes * 2**20
    config = TransferConfig(multipart_threshold=size, multipart_chunksize=size)
    client = boto3.client("s3")
    client.upload_fileobj(BytesIO(content), unique_name, "x/large", Config=config)
    assert "-2" in client.head_object(Bucket=unique_name, Key="x/large")["ETag"]
    assert Files(path).get("large") == content


@pytest.mark.parametrize("compress", ["gzip", "br", "zstd"])
def test_compressed_objects_of_an_encrypted_bucket_are_decompressed(
    real_s3: S3Semantics, path: str, unique_name: str, compress: str
) -> None:
    real_s3.encryption[unique_name] = "kms"
    cloud_files(path).put("c", 100 * CONTENT, compress=compress)
    assert Files(path).get("c") == 100 * CONTENT
    head = boto3.client("s3").head_object(Bucket=unique_name, Key="x/c")
    assert head["ContentEncoding"] == compress
    real_s3.damaged.add(f"/{unique_name}/x/c")
    with pytest.raises(StorageUnavailable, match="CRC32C"):
        Files(path).get("c")


def test_a_volume_lies_in_an_encrypted_bucket(
    real_s3: S3Semantics, path: str, unique_name: str
) -> None:
    real_s3.encryption[unique_name] = "kms"
    volume = make(f"{path}/em")
    volume.write(BOUNDS, noise(BOUNDS))
    assert np.array_equal(volume.read(BOUNDS), noise(BOUNDS))
    assert volume.missing(BOUNDS) == []
    assert all(volume.stored_at(blocks_of(volume, BOUNDS)).values())
    assert volume_bounds(f"{path}/em") == BOUNDS


def test_etags_of_other_servers_are_not_taken_for_md5s(
    path: str, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(parsed: dict[str, Any], **_: object) -> None:
        parsed["ETag"] = '"W/abc"'

    files = CloudFiles(path)
    with files._get_connection() as connection:
        connection._conn.meta.events.register_first("after-call.s3.GetObject", answer)
        assert connection.get_file("a")[:3] == (CONTENT, "", None)
        connection._conn.meta.events.unregister("after-call.s3.GetObject", answer)


def test_what_google_has_retried_for_minutes_is_not_tried_again(
    unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def download(*_: object, **__: object) -> bytes:
        calls.append(1)
        raise RetryError("Timeout of 120.0s exceeded", ServiceUnavailable("try later"))

    nobody = ("lab", AnonymousCredentials())
    monkeypatch.setitem(secrets.GOOGLE_CREDENTIALS_CACHE, unique_name, nobody)
    monkeypatch.setattr("google.cloud.storage.Blob.download_as_bytes", download)
    with pytest.raises(StorageUnavailable, match=r"Timeout of 120\.0s exceeded"):
        Files(f"gs://{unique_name}/x").get("a")
    assert len(calls) == 1


def test_google_says_that_an_object_is_absent() -> None:
    mend_cloudfiles()
    storage = GoogleCloudStorageInterface.__new__(GoogleCloudStorageInterface)
    storage._path = SimpleNamespace(path="")
    storage._bucket = SimpleNamespace(get_blob=lambda key: None)
    assert storage.head("absent") is None


def test_an_error_of_the_last_of_many_threads_is_not_lost() -> None:
    from cloudfiles.scheduler import schedule_jobs

    mend_cloudfiles()

    def fail() -> None:
        raise OSError("the last one")

    for _ in range(100):
        with pytest.raises(OSError, match="the last one"):
            schedule_jobs([lambda: None, fail], concurrency=2)
    assert sorted(schedule_jobs([lambda n=n: n for n in range(50)], concurrency=4)) == [*range(50)]


def test_an_error_ends_the_work_of_the_other_threads() -> None:
    from cloudfiles.scheduler import schedule_jobs

    mend_cloudfiles()
    done, failed = [], threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("at once")

    def work() -> None:
        failed.wait(10)
        time.sleep(0.01)  # so that there is something left when the error is seen
        done.append(1)

    with pytest.raises(OSError, match="at once"):
        schedule_jobs([fail, *[work] * 500], concurrency=2)
    assert len(done) < 500
