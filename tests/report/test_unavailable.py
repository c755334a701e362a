"""Overload and absence of services, in the errors that the libraries raise for a faulty server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import requests
from cloudfiles.exceptions import MD5IntegrityError
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from chunkflow_worker.errors import BlockDamaged, StorageFull, StorageUnavailable
from chunkflow_worker.report.unavailable import is_overload
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.zarr import store
from tests.support.s3_semantics import S3Semantics

OVERLOADS = [
    ("SlowDown", 503),
    ("ServiceUnavailable", 503),
    ("InternalError", 500),
    ("TooManyRequests", 429),
    ("RequestTimeout", 400),
    ("ThrottlingException", 400),
    ("KMS.ThrottlingException", 400),
    ("close", 0),
]
OF_THE_OBJECT = [("AccessDenied", 403), ("InvalidObjectState", 403), ("InvalidRequest", 400)]
ALL = OVERLOADS + OF_THE_OBJECT
FEW = [("SlowDown", 503), ("ThrottlingException", 400), ("close", 0), ("AccessDenied", 403)]


@pytest.fixture
def bucket(
    real_s3: S3Semantics, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A bucket with an object `a`, and libraries that do not wait before they try again."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    retries = {"max_retries": 1, "initial_delay": "1ms", "max_delay": "1ms"}
    monkeypatch.setattr(store, "_RETRIES", retries)
    store._context.cache_clear()
    boto3.client("s3").create_bucket(Bucket=unique_name)
    Files(f"s3://{unique_name}").put_json("a", 1)
    yield unique_name
    store._context.cache_clear()


DRIVERS: dict[str, Callable[[str], object]] = {
    "boto3": lambda bucket: boto3.client("s3").get_object(Bucket=bucket, Key="a"),
    "cloudfiles reads": lambda bucket: Files(f"s3://{bucket}").get("a"),
    "cloudfiles writes": lambda bucket: Files(f"s3://{bucket}").put_json("a", 2),
    "cloudfiles lists": lambda bucket: Files(f"s3://{bucket}").list(),
    "tensorstore reads": lambda bucket: store.read_json(f"s3://{bucket}", "a"),
    "tensorstore writes": lambda bucket: store.delete(f"s3://{bucket}", "a"),
}

FOR_ALL = ("boto3", "cloudfiles reads", "tensorstore reads")
"""With these, all errors are raised. The others take the same way."""


@pytest.mark.parametrize("driver", DRIVERS)
def test_overload_is_told_from_a_refusal(real_s3: S3Semantics, bucket: str, driver: str) -> None:
    request = DRIVERS[driver]
    request(bucket)
    for code, status in ALL if driver in FOR_ALL else FEW:
        real_s3.heal()
        real_s3.fail(f"/{bucket}", code, status)
        with pytest.raises(Exception) as caught:  # noqa: PT011  # the kind is the library's choice
            request(bucket)
        assert is_overload(caught.value) is ((code, status) in OVERLOADS), repr(caught.value)
        if is_overload(caught.value) and driver != "boto3":
            assert type(caught.value) is StorageUnavailable


@pytest.mark.parametrize(("status", "expected"), [(503, True), (429, True), (404, False)])
def test_a_head_request_tells_by_its_status(
    real_s3: S3Semantics, bucket: str, status: int, expected: bool
) -> None:
    real_s3.fail(f"/{bucket}", "SlowDown", status)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        boto3.client("s3").head_object(Bucket=bucket, Key="a")
    assert is_overload(caught.value) is expected


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Callable[[int], None]]]:
    """A Google bucket whose server answers with one HTTP status; and the setter of that status."""
    answer = {"status": 503}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"error": {"code": answer["status"], "message": "x"}}).encode()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(answer["status"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    client = Client(project="lab", credentials=AnonymousCredentials())
    yield client.bucket("b"), lambda status: answer.update(status=status)
    client.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, True), (502, True), (503, True), (429, True), (403, False), (400, False)],
)
def test_an_overloaded_google_is_seen(
    google: tuple[Any, Callable[[int], None]], status: int, expected: bool
) -> None:
    bucket, answer = google
    answer(status)
    assert isinstance(DEFAULT_RETRY, Retry)
    for retry in (None, DEFAULT_RETRY.with_timeout(0.1)):
        for request in (
            lambda retry: bucket.get_blob("a", retry=retry),
            lambda retry: bucket.blob("a").upload_from_string(b"x", retry=retry),
        ):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                request(retry)
            assert is_overload(caught.value) is expected, repr(caught.value)


def test_a_google_that_does_not_answer_is_away(
    google: tuple[Any, Callable[[int], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google[0].client._connection, "API_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        google[0].get_blob("a", retry=None)
    assert is_overload(caught.value)


def test_web_servers_tell_by_their_status() -> None:
    response = requests.Response()
    for status, expected in ((503, True), (404, False)):
        response.status_code = status
        assert is_overload(requests.HTTPError("x", response=response)) is expected
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get("http://127.0.0.1:9/a", timeout=5)
    assert is_overload(caught.value)


def test_the_cause_of_an_error_counts() -> None:
    error = StorageUnavailable("s3://b/a: x")
    assert not is_overload(error)
    error.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert is_overload(error)
    assert not is_overload(None)


@pytest.mark.parametrize(
    "error",
    [
        MD5IntegrityError("a failed its md5 check"),
        BlockDamaged("a: DATA_LOSS: blosc"),
        FileNotFoundError(2, "No such file or directory", "a"),
        ValueError("503 is no size"),
        OSError(5, "Input/output error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_damaged_or_absent_is_no_overload(error: Exception) -> None:
    assert not is_overload(error)


def test_a_full_disk_is_no_overload() -> None:
    error = StorageFull("em.zarr: RESOURCE_EXHAUSTED: Disk quota exceeded")
    error.__cause__ = OSError("RESOURCE_EXHAUSTED: Disk quota exceeded")
    assert not is_overload(error)
