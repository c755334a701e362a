"""`WrittenFiles`: compares files and objects in storage with the records of the tasks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.storage.written_file import ANY_ID, WrittenFile
from producer.look.problem import Kind, Problem

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Record
    from chunkflow_worker.job.written_paths import WrittenPaths
    from chunkflow_worker.storage.files import Files, Stored

_READ_AT_ONCE = 64  # files, and bytes of them:
_BYTES_AT_ONCE = 1 << 28

_Found = dict[tuple[Kind, str], list[str]]
"""Names of files by what is wrong with them: a kind of problem, and words about it."""


class WrittenFiles:
    """Checks the files that tasks wrote, by their records. Several threads may use it.

    paths: those that may be opened.
    quick: read only files that were stored at another time than the record says.
    """

    def __init__(self, paths: WrittenPaths, quick: bool):
        self._paths, self._quick = paths, quick
        self._ids = cache(_Ids)
        self._lock = threading.Lock()

    def check(self, record: Record) -> Iterator[Problem]:
        """What is wrong with the files of a task. Raises StorageUnavailable, and ConfigError."""
        refused: dict[str, str] = {}
        written: dict[str, dict[str, WrittenFile]] = {}
        for file in record.files:
            if why := self._paths.refusal(file.path):
                refused.setdefault(why, file.path)
            else:
                folder, name = _split(file.path)
                written.setdefault(folder, {})[name] = file
        unwritten: dict[str, list[str]] = {}
        for path in record.no_files:
            if why := self._paths.refusal(path):
                refused.setdefault(why, path)
            else:
                folder, name = _split(path)
                unwritten.setdefault(folder, []).append(name)
        for why, path in refused.items():
            yield Problem(record.bbox, "not-checked", detail=f"{why}: {path}")
        for folder in dict.fromkeys([*written, *unwritten]):
            for (kind, detail), names in self._look(
                folder, written.get(folder, {}), unwritten.get(folder, [])
            ).items():
                yield Problem(record.bbox, kind, folder, tuple(names), detail)

    def _look(self, folder: str, written: dict[str, WrittenFile], unwritten: list[str]) -> _Found:
        from chunkflow_worker.storage.files import Files

        files, found = Files(folder), _Found()
        stored, unclear = files.stored(written), []
        for name, file in written.items():
            wrong = _wrong_by_size(file, stored[name])
            if wrong is not None:
                found.setdefault(wrong, []).append(name)
            elif file.crc32 and not (self._quick and _is_untouched(file, stored[name])):
                unclear.append(name)
        for names in _parts(unclear, written):
            sums = files.checksums(names)
            for name in names:
                if sums[name] != written[name].crc32:
                    found.setdefault(("stale", "other bytes than the task wrote"), []).append(name)
        left = sorted({*self._existing(files, unwritten)} - {*written})
        if left:
            found["stale", "of another run, the task wrote no such file"] = left
        return found

    def _existing(self, files: Files, names: list[str]) -> Iterator[str]:
        """The files that have one of these names."""
        plain = [name for name in names if ANY_ID not in name]
        yield from (name for name, found in files.stored(plain).items() if found)
        for name in names:
            before, star, after = name.partition(ANY_ID)
            if star:
                with self._lock:
                    ids = self._ids(files.path, before)
                yield from ids.names(after)


class _Ids:
    """The files of a folder whose names are a beginning, the id of an object, and an end.

    Lists the folder once: it holds the files of all boxes.
    """

    def __init__(self, folder: str, beginning: str):
        from chunkflow_worker.storage.files import Files

        self._by_end: dict[str, list[str]] = {}
        pattern = re.compile(rf"{re.escape(beginning)}[0-9]+")
        for name in Files(folder).list(beginning):
            if match := pattern.match(name):
                self._by_end.setdefault(name[match.end() :], []).append(name)

    def names(self, end: str) -> list[str]:
        return self._by_end.get(end, [])


def _split(path: str) -> tuple[str, str]:
    """The folder of a file, and its name in it."""
    folder, _, name = normal_path(path).rpartition("/")
    return folder, name


def _wrong_by_size(file: WrittenFile, stored: Stored | None) -> tuple[Kind, str] | None:
    if stored is None:
        return "missing", ""
    if not file.crc32 or stored.size == file.size:
        return None
    if stored.size < file.size:
        return "damaged", "shorter than the task wrote it"
    return "stale", "longer than the task wrote it"


def _is_untouched(file: WrittenFile, stored: Stored | None) -> bool:
    """Whether a file was stored when the record says, by the clock of the storage."""
    return stored is not None and bool(file.stored) and stored.time == file.stored


def _parts(names: Iterable[str], files: dict[str, WrittenFile]) -> Iterator[list[str]]:
    """Names of files that may be in memory together."""
    part: list[str] = []
    size = 0
    for name in names:
        size += files[name].size
        if part and (len(part) == _READ_AT_ONCE or size > _BYTES_AT_ONCE):
            yield part
            part, size = [], files[name].size
        part.append(name)
    if part:
        yield part
