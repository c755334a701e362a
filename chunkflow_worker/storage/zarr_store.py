"""Folders of a Zarr or N5 store, by tensorstore: small JSON objects in them, and what it says when something fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import BlockDamaged, DataMissing, StorageFull, StorageUnavailable


def read_json(place: str, name: str) -> tuple[Any, bytes]:
    """Content of a small object, None when it is absent or not JSON, and its generation for `write_json`."""
    with store_errors(place):
        answer = (
            tensorstore()
            .KvStore.open(kvstore(place), context=context())
            .result()
            .read(name)
            .result()
        )
    try:
        content = json.loads(answer.value) if answer.state == "value" else None
    except ValueError:
        content = None
    return content, answer.stamp.generation


def write_json(place: str, name: str, content: Any, generation: bytes) -> bool:
    """Write a small object unless it has changed since it was of that generation; whether it was written."""
    with store_errors(place):
        store = tensorstore().KvStore.open(kvstore(place), context=context()).result()
        stamp = store.write(
            name, json.dumps(content, indent=1).encode(), if_equal=generation
        ).result()
    return bool(stamp.generation)


def write_if_absent(place: str, name: str, content: Any) -> None:
    """Write a small object unless there is one."""
    found, generation = read_json(place, name)
    if found is None:
        write_json(place, name, content, generation)


def kvstore(place: str) -> dict[str, Any]:
    """tensorstore's name of a folder."""
    protocol, _, rest = place.partition("://")
    if protocol == "file":
        return {"driver": "file", "path": f"{rest}/"}
    if protocol == "mem":
        return {"driver": "memory", "path": f"{rest}/"}
    if protocol in ("http", "https"):
        return {"driver": "http", "base_url": f"{place}/"}
    bucket, _, key = rest.partition("/")
    spec: dict[str, Any] = {
        "driver": {"s3": "s3", "gs": "gcs"}[protocol],
        "bucket": bucket,
        "path": f"{key}/",
    }
    if protocol == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        spec |= {"endpoint": endpoint} if endpoint else {}
        spec |= {"aws_region": region} if region else {}
        if (
            "AWS_ACCESS_KEY_ID" in os.environ
        ):  # else its library complains of files that nobody needs
            spec["aws_credentials"] = {"type": "environment"}
    return spec


@contextmanager
def store_errors(subject: str, reading: bool = False) -> Iterator[None]:
    """Translate what tensorstore says to StorageUnavailable, BlockDamaged or DataMissing.

    reading: voxels are read, where what is not found is a block that is missing.
    """
    try:
        yield
    except (
        ValueError,
        IndexError,
        OSError,
        RuntimeError,
        NotImplementedError,
        PermissionError,
    ) as error:
        text = str(error).partition(" [tensorstore_spec")[0].partition(" [source locations")[0]
        status = text.partition(":")[0]
        if status == "NOT_FOUND" and reading:
            raise DataMissing(f"{subject}: {text}") from error
        if status in ("FAILED_PRECONDITION", "INVALID_ARGUMENT", "DATA_LOSS", "OUT_OF_RANGE"):
            raise BlockDamaged(f"{subject}: {text}") from error
        full = "No space left" in text or "Read-only file system" in text or "quota" in text.lower()
        raise (StorageFull if full else StorageUnavailable)(f"{subject}: {text}") from error


def tensorstore() -> Any:
    """The library. Raises ConfigError where it is not installed."""
    return needs("tensorstore", extra="zarr")


@lru_cache
def context() -> Any:
    """Shared by all that is opened here, so that memory volumes of one path are one."""
    return tensorstore().Context()
