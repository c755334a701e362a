"""`age_of`: how old an object is, by the clock of storage, which all machines share."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from chunkflow_worker.storage.files import Files


def age_of(files: Files, name: str) -> timedelta | None:
    """How long ago an object was written; None when it is absent, or storage keeps no times.

    Raises StorageUnavailable.
    """
    written = _stored_at(files, name)
    now = _now(files) if written else None
    return now - written if now and written else None


def _now(files: Files) -> datetime | None:
    name = f".{uuid.uuid4().hex}.probe"
    files.put_json(name, {})
    try:
        return _stored_at(files, name)
    finally:
        files.delete(name)


def _stored_at(files: Files, name: str) -> datetime | None:
    found = files.stored([name])[name]
    return datetime.fromisoformat(found.time) if found and found.time else None
