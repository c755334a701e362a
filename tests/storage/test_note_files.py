from __future__ import annotations

import zlib
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.storage.note_files import note_files
from chunkflow_worker.storage.written_file import WrittenFile, noting


def test_files_and_objects_are_noted_as_they_are_stored(
    tmp_path: Path, aws: dict[str, str], unique_name: str
) -> None:
    s3, content = boto3.client("s3"), b"peaks of a box"
    s3.create_bucket(Bucket=unique_name)
    s3.put_object(Bucket=unique_name, Key="own/a", Body=content)
    (tmp_path / "b").write_bytes(content)
    noted: dict[str, WrittenFile] = {}
    with noting(noted) as notes:
        note_files(f"s3://{unique_name}/own/a", tmp_path / "b", f"file://{tmp_path}/b")
    assert list(noted) == [f"s3://{unique_name}/own/a", f"file://{tmp_path}/b"]
    assert {(file.size, file.crc32) for file in noted.values()} == {
        (len(content), f"{zlib.crc32(content):08x}")
    }
    assert all(file.stored for file in noted.values())
    assert notes.is_told


def test_without_paths_it_says_that_there_are_none() -> None:
    with noting({}) as notes:
        assert not notes.is_told
        note_files()
        assert notes.is_told
    assert notes.files == {}


def test_a_file_that_is_not_there_is_an_error(
    tmp_path: Path, aws: dict[str, str], unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    with noting({}):
        for path in (tmp_path / "absent", tmp_path, f"s3://{unique_name}/absent"):
            with pytest.raises(DataMissing, match="which was noted as written"):
                note_files(path)
        with pytest.raises(ConfigError):
            note_files("s4://bucket/file")


def test_nothing_is_read_when_nobody_wants_to_know(tmp_path: Path) -> None:
    note_files(tmp_path / "absent")
