"""`WrittenFile` and `noting`: the files and objects that are written while a task runs.

What writes whole files notes them here, so that every operator is covered and none has to remember
it. Nothing is noted outside `noting`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chunkflow_worker.storage.gzipped import crc32

ANY_ID = "*"
"""Stands for the digits of an object's id in the name of a file."""

_BUFFER = 1 << 20  # bytes that are read at once


@dataclass(frozen=True)
class WrittenFile:
    """A file or object as it was stored.

    path: in its normal form.
    size: in bytes.
    crc32: of its bytes, as eight hexadecimal digits; empty for a file that tasks share and change,
        of which only the existence is known.
    stored: when, by the clock of the storage, in ISO 8601; empty if the storage does not say.
    """

    path: str
    size: int = 0
    crc32: str = ""
    stored: str = ""


@dataclass
class Notes:
    """What is noted in a block.

    files: by path; None if nobody wants to know.
    is_told: code that is not ours has said which files it wrote, if only that there are none.
    """

    files: dict[str, WrittenFile] | None = None
    is_told: bool = False


_noted: ContextVar[Notes | None] = ContextVar("noted", default=None)


@contextmanager
def noting(files: dict[str, WrittenFile] | None) -> Iterator[Notes]:
    """Note in `files` what this thread writes until the block ends, by path; nothing in None."""
    notes = Notes(files)
    token = _noted.set(notes)
    try:
        yield notes
    finally:
        _noted.reset(token)


def is_noting() -> bool:
    """Whether anybody wants to know what is written."""
    return _files() is not None


def tell() -> None:
    """Say that what this block wrote is noted, or will be before it ends."""
    if notes := _noted.get():
        notes.is_told = True


def _files() -> dict[str, WrittenFile] | None:
    notes = _noted.get()
    return notes.files if notes else None


def note(file: WrittenFile) -> None:
    """Note a file. The last one of a path counts."""
    files = _files()
    if files is not None:
        files[file.path] = file


def note_local(path: Path) -> None:
    """Note a file on this machine. Reads it, unless nobody wants to know. Raises OSError."""
    if is_noting():
        found = path.stat()
        crc32 = file_checksum(path)
        note(WrittenFile(f"file://{path.absolute()}", found.st_size, crc32, local_time(found)))


def note_shared(path: str) -> None:
    """Note that a file must exist that several tasks write and change, such as an info."""
    note(WrittenFile(path))


def iso_time(when: datetime | None) -> str:
    """A time of the storage's clock as it is noted; empty for None. UTC without a zone."""
    if when is None:
        return ""
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def local_time(found: os.stat_result) -> str:
    """When a file on this machine was written, as it is noted."""
    return iso_time(datetime.fromtimestamp(found.st_mtime, UTC))


def checksum_of(content: bytes) -> str:
    """CRC-32 of bytes, as eight hexadecimal digits."""
    return f"{crc32(content):08x}"


def file_checksum(path: Path) -> str:
    """`checksum_of` the content of a file on this machine, of any size. Raises OSError."""
    crc = 0
    with path.open("rb") as file:
        while part := file.read(_BUFFER):
            crc = crc32(part, crc)
    return f"{crc:08x}"
