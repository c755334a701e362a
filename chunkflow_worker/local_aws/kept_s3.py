"""`KeptS3`: keeps the buckets and objects of moto's S3 in a folder.

moto holds them in memory. After each request that changes a bucket or an object, and before its
answer, what moto holds of it then is written: the content to a file, the rest to a database. Kept
are an object's latest version, with content, metadata, checksum, ETag and time; of a bucket, its
name, region and time. Uploads in parts that are not complete are not kept, and neither are access
lists, tags, earlier versions and the settings of buckets.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.local_aws.database import SUBJECT, open_database
from chunkflow_worker.local_aws.sqs.queue import ACCOUNT
from chunkflow_worker.report.web_gate import Wsgi

_FILE, _VERSION = "s3.sqlite", 1
_SCHEMA = """
CREATE TABLE buckets (name TEXT PRIMARY KEY, content TEXT);
CREATE TABLE objects (
    bucket TEXT, name TEXT, file TEXT, content TEXT, PRIMARY KEY (bucket, name)
);
"""
_PLAIN = (
    "storage_class checksum_algorithm checksum_value checksum_type checksum_parts "
    "encryption kms_key_id bucket_key_enabled"
)
"""Attributes of moto's objects that are numbers and texts."""


class KeptS3:
    """A WSGI application in front of moto's S3."""

    def __init__(self, moto: Wsgi, folder: Path):
        """Raises ConfigError for a folder that cannot be used, or that another process uses."""
        from moto.s3.models import s3_backends

        self._moto, self._s3 = moto, s3_backends[ACCOUNT]["aws"]
        self._database = open_database(folder, _FILE, _VERSION, _SCHEMA)
        self._files = folder / "objects"
        self._files.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._load()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return self._moto(environ, start_response)
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        bucket, _, key = path.lstrip("/").partition("/")
        keys = [key] if key else _listed(environ)
        answer = list(self._moto(environ, start_response))
        with self._lock, self._database:
            self._keep_bucket(bucket)
            unused = [self._keep(bucket, each) for each in keys]
        for file in filter(None, unused):
            (self._files / file).unlink(missing_ok=True)
        return answer

    def reset(self) -> None:
        """Forget all buckets and objects."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM buckets")
            self._database.execute("DELETE FROM objects")
        self._remove_unused()

    def _keep_bucket(self, name: str) -> None:
        bucket = self._s3.buckets.get(name)
        if bucket is None:
            self._database.execute("DELETE FROM buckets WHERE name = ?", (name,))
            return
        content = {"region": bucket.region_name, "created": bucket.creation_date.isoformat()}
        row = (name, json.dumps(content))
        self._database.execute("INSERT OR IGNORE INTO buckets VALUES (?, ?)", row)

    def _keep(self, bucket: str, name: str) -> str | None:
        """Write what moto holds of an object now; returns the file that is unused then."""
        where = (bucket, name)
        select = "SELECT file FROM objects WHERE bucket = ? AND name = ?"
        before = self._database.execute(select, where).fetchone()
        held = self._s3.buckets[bucket].keys.get(name) if bucket in self._s3.buckets else None
        if held is None or not hasattr(held, "value"):  # deleted, in a bucket with versions too
            self._database.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", where)
        else:
            file = uuid4().hex
            try:
                content, rest = held.value, json.dumps(_content(held))
            except ValueError:
                return None  # replaced meanwhile, by a request that keeps its own
            (self._files / file).write_bytes(content)
            row = (*where, file, rest)
            self._database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)
        return before[0] if before else None

    def _load(self) -> None:
        """Give moto what was kept."""
        self._remove_unused()
        for name, text in self._database.execute("SELECT * FROM buckets").fetchall():
            content = json.loads(text)
            bucket = self._s3.create_bucket(name, content["region"])
            bucket.creation_date = datetime.fromisoformat(content["created"])
        for bucket, name, file, text in self._database.execute("SELECT * FROM objects").fetchall():
            held = self._s3.put_object(bucket, name, _read(self._files / file))
            _restore(held, json.loads(text))

    def _remove_unused(self) -> None:
        used = {file for (file,) in self._database.execute("SELECT file FROM objects")}
        for path in self._files.iterdir():
            if path.name not in used:
                path.unlink()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"the content of an object cannot be read: {error.strerror}"
        cure = "put the file back, or give another folder as --data"
        raise ConfigError.one(SUBJECT, str(path), problem, cure) from None


def _listed(environ: dict[str, Any]) -> list[str]:
    """The keys that a request deletes which names several; none for other requests."""
    if environ["REQUEST_METHOD"] != "POST" or "delete" not in environ.get("QUERY_STRING", ""):
        return []
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        elements = ElementTree.fromstring(body).iter()
    except ElementTree.ParseError:
        return []  # moto refuses it
    return [each.text or "" for each in elements if each.tag.rpartition("}")[2] == "Key"]


def _content(held: Any) -> dict[str, Any]:
    return {
        "etag": held.etag.strip('"'),
        "modified": held.last_modified.isoformat(),
        "metadata": dict(held.metadata),
        "plain": {name: getattr(held, name) for name in _PLAIN.split()},
    }


def _restore(held: Any, content: dict[str, Any]) -> None:
    """Make an object of moto what it was."""
    plain = content["plain"]
    held.set_storage_class(plain.pop("storage_class"))
    for name, value in plain.items():
        setattr(held, name, value)
    held._etag = content["etag"]
    held.last_modified = datetime.fromisoformat(content["modified"])
    held.set_metadata(content["metadata"])
