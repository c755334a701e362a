from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.archive import file as module
from chunkflow_worker.job.archive.columns import Row, row_of
from chunkflow_worker.job.archive.file import Archive, write_archive
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.storage.files import Files
from tests.support.records import task_record

SIZE = Vec3(3, 4, 5)
BOXES = Boxes(Vec3(-16, 0, 0), Vec3(16, 8, 8), SIZE, Vec3(30, 32, 37), 0, SIZE.product)
NAMES = list(BOXES.texts())


def rows(names: list[str] = NAMES, **fields: Any) -> Iterator[Row]:
    for name in names:
        record = task_record(name, **fields)
        yield row_of(record, record.model_dump(mode="json"))


def opened(path: Path) -> Archive:
    return Archive(Files(f"file://{path.parent}"), path.name, path.stat().st_size)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of all boxes in groups of seven."""
    monkeypatch.setattr(module, "_ROWS", 7)
    path = tmp_path / "j.0001.parquet"
    write_archive(path, "j", rows())
    return path


def test_records_are_found_by_their_boxes_in_any_order(path: Path) -> None:
    archive = opened(path)
    wanted = [*NAMES[::-3], "0-1_0-1_0-1", "no box", "-99--83_0-8_0-8"]
    assert [box for box, _ in archive.texts(wanted)] == NAMES[::-3]
    assert [box for box, _ in archive.all_texts()] == NAMES
    archive.check()


@given(first=st.integers(0, 30), size=st.integers(1, 30), kept=st.sets(st.integers(0, 59)))
def test_marks_are_those_of_the_boxes_of_a_job(
    tmp_path_factory: pytest.TempPathFactory, first: int, size: int, kept: set[int]
) -> None:
    path = tmp_path_factory.mktemp("archive") / "j.0001.parquet"
    names = [NAMES[i] for i in sorted(kept)]
    write_archive(path, "j", rows([*names, "0-1_0-8_0-8"]))
    part = Boxes(BOXES.start, BOXES.chunk_size, SIZE, BOXES.stop, first, first + size)
    bits = np.unpackbits(opened(path).marks(part), bitorder="little")[:size]
    assert [name for name, bit in zip(part.texts(), bits, strict=True) if bit] == [
        name for name in part.texts() if name in names
    ]


def test_groups_are_bounded_by_the_size_of_their_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BYTES", 2000)
    path = tmp_path / "j.0001.parquet"
    content = write_archive(path, "j", rows(skipped="x" * 900))
    assert len(content.firsts) == len(NAMES) // 2
    opened(path).check()


def test_numbers_that_no_task_can_have_are_left_out_and_the_record_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.0001.parquet"
    [*most, last] = rows(NAMES[:3])
    [odd] = rows([NAMES[3]], voxels=10**30)
    write_archive(path, "j", [*most, last, odd])
    assert dict(opened(path).texts(NAMES))[NAMES[3]] == odd.text


def test_a_file_with_other_records_than_it_says_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.0001.parquet"
    monkeypatch.setattr(module, "_checksum", lambda box, text, before: 1)
    write_archive(path, "j", rows())
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="not those that were written"):
        opened(path).check()


def test_no_byte_can_change_unseen(path: Path) -> None:
    """Bytes of page headers, pages and the description of the file."""
    content = path.read_bytes()
    expected = list(opened(path).all_texts())
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        try:
            archive = opened(path)
            archive.check()
        except ConfigError:
            continue
        assert list(archive.all_texts()) == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1" + b"\0" * 20 + b"PAR1"])
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j.0001.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged, or no archive"):
        opened(path)


def test_a_table_of_another_program_is_no_archive(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "j.0001.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(ConfigError, match="of another program or version"):
        opened(path)
