"""Small objects below a path, by cloudfiles: ``file://``, ``s3://`` (with an endpoint of one's own), ``gs://``, ``mem://``."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from chunkflow_worker.errors import NO_AWS_CREDENTIALS, ConfigError
from chunkflow_worker.storage.local_file import atomic_file, storage_error

PROTOCOLS = ("file://", "s3://", "gs://", "mem://", "http://", "https://")


def normal_path(path: str) -> str:
    """`path` with its protocol, without a trailing slash. A path without a protocol is local, and local ones become absolute.

    Raises ConfigError for a protocol that is not supported.
    """
    plain = path.removeprefix("precomputed://").rstrip("/")
    local = plain.removeprefix("file://")
    if (
        "://" not in local
    ):  # CloudVolume remembers where a relative path led, and does not follow when the process moves
        return f"file://{Path(local).expanduser().absolute()}"
    if not plain.startswith(PROTOCOLS):
        raise ConfigError.one(
            "path", path, "has an unknown protocol", "legal: " + ", ".join(PROTOCOLS)
        )
    return plain


def public_path(path: str) -> str:
    """The https link of an object store's folder, which needs no credentials; other paths as they are."""
    from cloudfiles.paths import to_https_protocol

    return str(to_https_protocol(normal_path(path)))


def prepare_environment() -> None:
    """Let cloudfiles find AWS credentials and region where boto3 does.

    cloudfiles 6 raises KeyError for key pairs without a session token, takes empty keys for keys, and ignores AWS_REGION.
    """
    for name in [
        name for name, value in os.environ.items() if name.startswith("AWS_") and not value
    ]:
        del os.environ[name]
    if "AWS_ACCESS_KEY_ID" in os.environ:
        os.environ.setdefault("AWS_SESSION_TOKEN", "")
    if "AWS_REGION" in os.environ:
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])


def check_bucket(path: str) -> None:
    """Raises ConfigError when the bucket of an ``s3://`` path does not exist, which cloudfiles doubts for half a minute."""
    protocol, _, place = path.partition("://")
    if protocol == "s3":
        _find_bucket(place.partition("/")[0])


@cache
def _find_bucket(bucket: str) -> None:
    """Asked once: whatever else is wrong, or goes wrong later, is told when objects are read and written."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        boto3.client("s3", config=config).list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            cure = f"write it as it is called, or make it: aws s3 mb s3://{bucket}"
            raise ConfigError.one(
                f"s3://{bucket}", "bucket", "there is no such bucket", cure
            ) from None
    except (BotoCoreError, ValueError):
        pass


@contextmanager
def storage_errors(subject: str) -> Iterator[None]:
    """Translate the errors of the storage libraries into StorageUnavailable."""
    import botocore.exceptions
    import cloudfiles.exceptions
    import google.api_core.exceptions
    import google.auth.exceptions
    import requests

    network = (
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        cloudfiles.exceptions.AuthorizationError,
        cloudfiles.exceptions.IntegrityError,
        google.api_core.exceptions.GoogleAPIError,
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
        OSError,
    )
    try:
        yield
    except (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
    ) as error:
        raise storage_error(f"{subject}: {NO_AWS_CREDENTIALS}", error) from error
    except network as error:
        raise storage_error(f"{subject}: {type(error).__name__}: {error}", error) from error


class Files:
    """The objects below one path. Safe to use from several threads."""

    def __init__(self, path: str):
        self.path = normal_path(path)
        self._local = (
            Path(self.path.removeprefix("file://")) if self.path.startswith("file://") else None
        )
        self._thread = threading.local()

    @property
    def _cloud(self) -> Any:
        if not hasattr(self._thread, "files"):
            prepare_environment()
            check_bucket(self.path)
            from cloudfiles import CloudFiles

            self._thread.files = CloudFiles(self.path, progress=False, num_threads=8)
        return self._thread.files

    def put_json(self, name: str, content: Any) -> None:
        """Write one object, whole or not at all. Raises StorageUnavailable."""
        self.put(name, json.dumps(content, indent=1).encode(), "application/json")

    def put(self, name: str, content: bytes, content_type: str) -> None:
        """Write one object, whole or not at all. Raises StorageUnavailable."""
        with storage_errors(f"{self.path}/{name}"):
            if self._local is None:
                self._cloud.put(name, content, content_type=content_type)
                return
            with atomic_file(self._local / name) as part:
                part.write_bytes(content)

    def put_all(self, contents: Mapping[str, bytes], content_type: str) -> None:
        """Write many objects, each whole or not at all. Raises StorageUnavailable."""
        if self._local is not None:
            for name, content in contents.items():
                self.put(name, content, content_type)
            return
        with storage_errors(self.path):
            self._cloud.puts(list(contents.items()), content_type=content_type)

    def get_all(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Read many objects at once; None for those absent. Raises StorageUnavailable."""
        with storage_errors(self.path):
            return {f["path"]: f["content"] for f in self._cloud.get(list(names))}

    def size(self, name: str) -> int | None:
        """Bytes of one object as it is stored; None when it is absent. Raises StorageUnavailable."""
        with storage_errors(f"{self.path}/{name}"):
            if self._local is None:
                found: int | None = self._cloud.size(name)
                return found
            try:
                return (self._local / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def get_json(self, name: str) -> Any:
        """Read one object; None when it is absent or not JSON. Raises StorageUnavailable."""
        with storage_errors(f"{self.path}/{name}"):
            return _parse(self._cloud.get(name))

    def get_jsons(self, names: list[str]) -> list[Any]:
        """Read many objects at once, in the order of `names`; None for those absent or not JSON."""
        with storage_errors(self.path):
            found = {f["path"]: f["content"] for f in self._cloud.get(names)}
        return [_parse(found.get(name)) for name in names]

    def list(self, prefix: str = "") -> list[str]:
        """Names, which begin with `prefix`, of the objects directly below the path. Raises StorageUnavailable."""
        if self._local is not None and not self._local.exists():
            return []
        with storage_errors(self.path):
            return [n for n in self._cloud.list(prefix=prefix, flat=True) if not n.startswith(".")]

    def delete(self, name: str) -> None:
        with storage_errors(f"{self.path}/{name}"):
            self._cloud.delete(name)


def _parse(raw: bytes | None) -> Any:
    try:
        return None if raw is None else json.loads(raw)
    except ValueError:
        return None
