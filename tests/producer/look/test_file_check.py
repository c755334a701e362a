from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from chunkflow_worker.errors import StorageRefused, StorageUnavailable
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.written_paths import WrittenPaths
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.written_file import WrittenFile, checksum_of, noting
from producer.look.file_check import FileCheck
from producer.look.problem import Problem
from producer.look.tally import FILES_COMPARED, FILES_FOUND, NO_FILES, Tally
from tests.support.records import task_record

BOX = "0-8_0-16_0-16"


class Output:
    """Objects of a task in a folder, and its record."""

    def __init__(self, path: str):
        self.files, self.noted = Files(path), dict[str, WrittenFile]()
        self.tally = Tally()
        with noting(self.noted):
            contents = {"a": b"some bytes", "b": b"", "7:0:box": b"fragment"}
            self.files.put_all(contents, "application/octet-stream")
            self.files.put_info({})

    def record(self, **fields: Any) -> Record:
        return task_record(BOX, **({"files": list(self.noted.values())} | fields))

    def check(self, record: Record | None = None, *, quick: bool = False) -> list[Problem]:
        paths = WrittenPaths([self.files.path])
        return list(FileCheck(paths, self.tally, quick=quick).problems(record or self.record()))

    def file(self, name: str) -> Path:
        """One of the files, in a folder on this machine."""
        return Path(self.files.path.removeprefix("file://"), name)

    def found(self, *, quick: bool = False) -> set[tuple[str, tuple[str, ...]]]:
        return {(problem.kind, problem.blocks) for problem in self.check(quick=quick)}


@pytest.fixture(params=["file", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Output:
    if request.param == "file":
        return Output(str(tmp_path / "out"))
    request.getfixturevalue("aws")
    boto3.client("s3").create_bucket(Bucket=unique_name)
    return Output(f"s3://{unique_name}/out")


@pytest.fixture
def local(tmp_path: Path) -> Output:
    return Output(str(tmp_path / "out"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    real = Files.checksums

    def checksums(files: Files, some: Any) -> dict[str, str | None]:
        names.extend(some)
        return real(files, some)

    monkeypatch.setattr(Files, "checksums", checksums)
    return names


@pytest.mark.parametrize("quick", [False, True])
def test_what_the_task_wrote_is_right(output: Output, quick: bool) -> None:
    record = output.record(no_files=[f"{output.files.path}/c"])
    assert output.check(record, quick=quick) == []
    seen = {FILES_FOUND: 4} if quick else {FILES_COMPARED: 3, FILES_FOUND: 1}
    assert output.tally.counts() == seen | {NO_FILES: 1}


@pytest.mark.parametrize("quick", [False, True])
def test_each_damage_is_found_and_named(output: Output, quick: bool) -> None:
    output.files.delete("a")
    assert output.found(quick=quick) == {("missing", ("a",))}
    output.files.put("a", b"some", "text/plain")
    assert output.found(quick=quick) == {("damaged", ("a",))}
    output.files.put("a", b"some bytes more", "text/plain")
    output.files.put("b", b"not empty", "text/plain")
    assert output.found(quick=quick) == {("stale", ("a", "b"))}
    output.files.put("b", b"", "text/plain")
    output.files.delete("info")
    assert output.found(quick=quick) == {("stale", ("a",)), ("missing", ("info",))}


def test_other_bytes_of_the_same_size_are_found_quickly_by_their_time(local: Output) -> None:
    path = local.file("a")
    path.write_bytes(b"SOME BYTES")
    os.utime(path, (1e9, 1e9))
    detail = "other bytes than the task wrote"
    expected = [Problem(BOX, "stale", local.files.path, ("a",), detail)]
    assert local.check() == local.check(quick=True) == expected


def test_a_quick_check_reads_only_what_was_stored_at_another_time(
    local: Output, reads: list[str]
) -> None:
    assert local.check(quick=True) == []
    assert reads == []
    os.utime(local.file("a"), (1e9, 1e9))
    assert local.check(quick=True) == [], "the bytes are right, as after a copy"
    assert reads == ["a"]


def test_without_times_a_quick_check_reads(local: Output, reads: list[str]) -> None:
    files = [replace(file, stored="") for file in local.noted.values()]
    assert local.check(local.record(files=files), quick=True) == []
    assert reads == ["a", "b", "7:0:box"]


def test_a_shared_file_must_exist_and_may_change(output: Output) -> None:
    output.files.put_json("info", {"mesh": "mesh"})
    assert output.check() == []


@pytest.mark.parametrize("quick", [False, True])
def test_files_of_another_run_are_found(output: Output, quick: bool) -> None:
    names = ("*:0:box", "*:0:other", "*", "b", "c", "9:0:box")
    record = output.record(no_files=[f"{output.files.path}/{name}" for name in names])
    assert output.check(record, quick=quick) == []
    for name in ("8:0:box", "9:0:box", "x:0:box", "7:1:box", "c", "12"):
        output.files.put(name, b"old", "text/plain")
    detail = "of another run: the task wrote no such file"
    left = ("12", "8:0:box", "9:0:box", "c")
    expected = [Problem(BOX, "stale", output.files.path, left, detail)]
    assert output.check(record, quick=quick) == expected


def test_a_folder_is_listed_once(local: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    lists: list[str] = []
    real = Files.list
    monkeypatch.setattr(
        Files, "list", lambda files, prefix="": lists.append(prefix) or real(files, prefix)
    )
    check = FileCheck(WrittenPaths([local.files.path]), Tally(), quick=False)
    for box in ("one", "two"):
        record = task_record(box, no_files=[f"{local.files.path}/*:0:{box}"])
        assert list(check.problems(record)) == []
    assert lists == [""]


def test_a_task_that_wrote_nothing_where_nothing_is_is_right(local: Output) -> None:
    record = task_record(BOX, no_files=[f"{local.files.path}/absent folder/*_{BOX}.swc"])
    check = FileCheck(WrittenPaths([local.files.path]), Tally(), quick=False)
    assert check.holds(record)
    assert list(check.problems(record)) == []
    assert not check.holds(task_record(BOX))


@pytest.mark.parametrize(
    "path",
    ["file:///etc/passwd", "http://169.254.169.254/latest", "s3://other/a", "{out}/../a", "", "*"],
)
@pytest.mark.parametrize("field", ["files", "no_files"])
def test_no_path_is_opened_that_the_job_does_not_write(
    local: Output, path: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path.format(out=local.files.path)
    value = WrittenFile(path) if field == "files" else path
    record = task_record(BOX, **{field: [value]})
    monkeypatch.setattr("chunkflow_worker.storage.files.Files", None)  # nothing can be opened
    (problem,) = local.check(record)
    assert (problem.kind, problem.volume) == ("not-checked", path)
    assert problem.detail.startswith("its record names ")


def test_what_else_a_record_names_is_still_checked(local: Output) -> None:
    local.files.delete("a")
    record = local.record(files=[WrittenFile("file:///etc/passwd"), *local.noted.values()])
    assert [problem.kind for problem in local.check(record)] == ["not-checked", "missing"]


@pytest.mark.parametrize("method", ["stored", "checksums"])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_checked(
    local: Output, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(Files, method)

    def refusing(files: Files, names: Any) -> Any:
        names = list(names)
        if "a" in names:
            raise StorageRefused(f"{files.path}/a: access denied\n    allow it")
        return real(files, names)

    monkeypatch.setattr(Files, method, refusing)
    local.files.put("b", b"changed", "text/plain")
    problems = {problem.kind: problem for problem in local.check()}
    assert problems.keys() == {"unreadable", "stale"}
    assert (problems["stale"].blocks, problems["unreadable"].blocks) == (("b",), ("a",))
    assert problems["unreadable"].detail == f"{local.files.path}/a: access denied"


def test_an_outage_ends_the_check(local: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []

    def failing(files: Files, names: Any) -> Any:
        tried.append(list(names))
        raise StorageUnavailable("it is away")

    monkeypatch.setattr(Files, "stored", failing)
    local.files.put_all({str(n): b"" for n in range(9)}, "text/plain")
    noted = [WrittenFile(f"{local.files.path}/{n}", 0, checksum_of(b"")) for n in range(9)]
    with pytest.raises(StorageUnavailable, match="it is away"):
        local.check(task_record(BOX, files=noted))
    assert [len(names) for names in tried] == [9, 1, 1, 1]


def test_large_files_are_read_in_parts(local: Output, reads: list[str]) -> None:
    contents = {str(n): bytes([n]) for n in range(150)}
    with noting(local.noted):
        local.files.put_all(contents, "text/plain")
    assert local.check() == []
    assert {*contents} < {*reads}
