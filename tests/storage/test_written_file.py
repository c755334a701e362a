from __future__ import annotations

import os
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chunkflow_worker.storage.local_file import atomic_file
from chunkflow_worker.storage.written_file import (
    WrittenFile,
    checksum_of,
    file_checksum,
    is_noting,
    iso_time,
    note_shared,
    noting,
)


def test_files_are_noted_by_what_is_stored(tmp_path: Path) -> None:
    files: dict[str, WrittenFile] = {}
    path = tmp_path / "a.bin"
    with noting(files), atomic_file(path) as part:
        part.write_bytes(b"some bytes")
    stored = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    noted = WrittenFile(f"file://{path}", 10, checksum_of(b"some bytes"), stored)
    assert files == {f"file://{path}": noted}


def test_the_last_file_of_a_path_counts(tmp_path: Path) -> None:
    files: dict[str, WrittenFile] = {}
    with noting(files):
        for text in ("one", "other"):
            with atomic_file(tmp_path / "a") as part:
                part.write_text(text)
    assert [file.size for file in files.values()] == [5]


def test_a_file_that_was_not_written_is_not_noted(tmp_path: Path) -> None:
    files: dict[str, WrittenFile] = {}
    with noting(files), pytest.raises(ValueError, match="halfway"), atomic_file(tmp_path / "a"):
        raise ValueError("halfway")
    assert files == {}


def test_nothing_is_noted_outside_the_block_nor_of_other_threads(tmp_path: Path) -> None:
    def write(name: str) -> None:
        with atomic_file(tmp_path / name) as part:
            part.touch()

    files: dict[str, WrittenFile] = {}
    write("before")
    with noting(files):
        thread = threading.Thread(target=write, args=("of another thread",))
        thread.start()
        thread.join(30)
        with noting(None):
            assert not is_noting()
            write("of no record")
        write("noted")
    write("after")
    assert list(files) == [f"file://{tmp_path}/noted"]


def test_a_shared_file_is_noted_without_its_content() -> None:
    files: dict[str, WrittenFile] = {}
    with noting(files):
        note_shared("s3://bucket/mesh/info")
    assert files == {"s3://bucket/mesh/info": WrittenFile("s3://bucket/mesh/info")}


def test_checksums_are_those_of_the_whole_content(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(content)
    assert file_checksum(tmp_path / "a") == checksum_of(content) == f"{zlib.crc32(content):08x}"
    assert checksum_of(b"") == "00000000"


def test_times_are_utc() -> None:
    assert iso_time(None) == ""
    assert iso_time(datetime(2026, 1, 2, 3)) == "2026-01-02T03:00:00+00:00"
    here = datetime.fromisoformat("2026-01-02T04:00:00+01:00")
    assert iso_time(here) == "2026-01-02T03:00:00+00:00"
