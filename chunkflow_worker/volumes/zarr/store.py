"""Folders of a Zarr or N5 store, by tensorstore: small JSON objects in them, errors translated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from chunkflow_worker.errors import (
    BlockDamaged,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.report.access import GOOGLE_LOGIN, NO_CREDENTIALS, Meaning, meaning
from chunkflow_worker.report.unavailable import is_overload
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.largest import check_text
from chunkflow_worker.volumes.zarr.kvstore import bucket_of, endpoint, has_credentials, kvstore

# About half a minute; tensorstore would try for a quarter of an hour, without a word.
_RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "16s"}
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED")
_UNREACHED = re.compile(r"CURL error [^:]*: (.*?)(?: \[curl_code.*)?$")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_LONGEST = 500  # letters of an error
_DAMAGED = ("FAILED_PRECONDITION", "INVALID_ARGUMENT", "DATA_LOSS", "OUT_OF_RANGE")


def read_json(place: str, name: str) -> tuple[Any, bytes]:
    """Read a small object: its content and its generation, which `write_json` takes.

    The content is None when the object is absent or not JSON. Raises StorageUnavailable.
    """
    answer = _read(place, name)
    try:
        content = parse_json(answer.value) if answer.state == "value" else None
    except ValueError:
        content = None
    return content, answer.stamp.generation


def read_metadata(place: str, name: str) -> Any:
    """Read a small object that says what is stored; None when it is absent.

    Raises ConfigError when it is not JSON, and StorageUnavailable.
    """
    value = read_bytes(place, name)
    if value is None:
        return None
    check_text(len(value), f"{place}/{name}")
    try:
        return parse_json(value)
    except ValueError:
        if place.startswith("http"):  # a web server may send a page of its own for what is absent
            return None
        cure = "restore it: it says what the voxels are"
        raise ConfigError.one(place, name, "is not JSON", cure) from None


def read_bytes(place: str, name: str) -> bytes | None:
    """Read an object; None when it is absent. Raises StorageUnavailable.

    Object storage refuses what is absent to users who may not list it, so there an object that is
    refused counts as absent.
    """
    try:
        answer = _read(place, name)
    except StorageUnavailable as error:
        if is_refused(error) and not place.startswith("file://"):
            return None
        raise
    return bytes(answer.value) if answer.state == "value" else None


def write_json(place: str, name: str, content: Any, generation: bytes) -> bool:
    """Write a small object unless it has changed since `generation`.

    Returns whether it was written. Raises StorageUnavailable, and ConfigError when the bucket does
    not exist.
    """
    text = json.dumps(content, indent=1).encode()
    with store_errors(place):
        stamp = open_store(place).write(name, text, if_equal=generation).result()
    if not stamp.generation and place.startswith(("s3://", "gs://")):
        # tensorstore takes "there is no such bucket" for an object that others have deleted.
        now = _read(place, name).stamp
        if now.generation == generation:
            raise _no_bucket(place)
    return bool(stamp.generation)


def delete(place: str, name: str) -> None:
    """Delete an object, if there is one. Raises StorageUnavailable."""
    with store_errors(place):
        open_store(place).write(name, None).result()


def write_if_absent(place: str, name: str, content: Any) -> None:
    """Write a small object unless it exists. Raises StorageUnavailable."""
    existing, generation = read_json(place, name)
    if existing is None:
        write_json(place, name, content, generation)


def open_array(
    place: str, driver: str, *, create: bool = False, assume_metadata: bool = False, **options: Any
) -> Any:
    """The tensorstore of the array in a folder.

    create: create the array when it does not exist.
    assume_metadata: take the metadata in the options, and do not read those of the array.
    options: further members of tensorstore's spec.
    """
    spec = {"driver": driver, "kvstore": kvstore(place), **options}
    modes = {"open": True, "create": create, "assume_metadata": assume_metadata}
    return tensorstore().open(spec, context=_context(), **modes).result()


@contextmanager
def store_errors(subject: str, reading: bool = False) -> Iterator[None]:
    """Translate errors of tensorstore to StorageUnavailable, BlockDamaged or DataMissing.

    A path below a file is a ConfigError.

    subject: what is read or written, for the message.
    reading: whether voxels are read; NOT_FOUND then means a missing block.
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
        # The rest describes the request and the lines of tensorstore's source.
        text = str(error).partition(" [tensorstore_spec")[0].partition(" [source locations")[0]
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."  # it quotes metadata
        status = text.partition(":")[0]
        if unreached := _UNREACHED.search(text):
            text = f"cannot be reached: {unreached[1]}"
            if subject.startswith("s3://") and endpoint():
                text += "\n    check that it runs there, and AWS_ENDPOINT_URL"
        message = f"{subject}: {text}"
        if status in _REFUSED:
            anyone = subject.startswith("s3://") and not has_credentials(bucket_of(subject))
            cure = "allow it in the policy of the user or role, or use other credentials"
            if subject.startswith("gs://"):
                cure = f"{GOOGLE_LOGIN}, with an account that may read and write there"
            access = NO_CREDENTIALS if anyone else f"access denied\n    {cure} ({text})"
            raise StorageRefused(f"{subject}: {access}") from error
        if (found := _refusal(str(error))) is not None:
            raise StorageRefused(f"{subject}: {found}") from error
        if "bucket name: " in text:
            bucket = text.partition("bucket name: ")[2].strip('"')
            cure = "use 3 to 63 lower-case letters, digits, hyphens and dots"
            raise ConfigError.one(subject, bucket, "is not the name of a bucket", cure) from None
        if "NoSuchBucket" in text:
            raise _no_bucket(subject) from None
        if status == "NOT_FOUND" and reading:
            raise DataMissing(message) from error
        if "Not a directory" in text:
            problem = "is a file, or is inside one, and a Zarr or N5 store is a folder"
            raise ConfigError.one(subject, "path", problem, "choose another path") from error
        is_damaged = status in _DAMAGED and not is_overload(error)  # S3 throttles with 400, too
        if is_damaged or status.startswith("Error parsing"):
            raise BlockDamaged(message) from error
        full = "No space left" in text or "Read-only file system" in text or "quota" in text.lower()
        raise (StorageFull if full else StorageUnavailable)(message) from error
    except Exception as error:
        found = meaning(error)
        if not found.is_refused:
            raise
        raise StorageRefused(f"{subject}: {found}") from error


def _refusal(text: str) -> Meaning | None:
    """What an answer of S3 in an error means, if the same request would be refused again."""
    from botocore.exceptions import ClientError

    code = _CODE.search(text)
    found = meaning(ClientError({"Error": {"Code": code[1]}}, "GetObject")) if code else None
    return found if found and found.is_refused else None


def _no_bucket(place: str) -> ConfigError:
    bucket = f"{place.partition('://')[0]}://{bucket_of(place)}"
    cure = "correct its name, or create it"
    return ConfigError.one(bucket, "bucket", "there is no such bucket", cure)


def is_refused(error: StorageUnavailable) -> bool:
    """Whether storage answered, and did not permit what was asked."""
    return str(error.__cause__).startswith(_REFUSED)


def tensorstore() -> Any:
    """The library, imported when it is needed: that takes a third of a second."""
    import tensorstore

    return tensorstore


def _read(place: str, name: str) -> Any:
    """tensorstore's answer, which is in a state: there is a value, or there is none."""
    with store_errors(place):
        return open_store(place).read(name).result()


def open_store(place: str) -> Any:
    """The key-value store of a folder."""
    return tensorstore().KvStore.open(kvstore(place), context=_context()).result()


@lru_cache
def _context() -> Any:
    """Shared by everything that is opened here, so that a path in memory is one volume."""
    retries = {f"{kind}_request_retries": _RETRIES for kind in ("http", "s3", "gcs")}
    return tensorstore().Context(retries)
