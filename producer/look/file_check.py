"""`FileCheck`: compares files and objects in storage with what a record says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from chunkflow_worker.errors import StorageRefused, StorageUnavailable
from chunkflow_worker.storage.listed_objects import ListedObjects, listing_of
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.storage.written_file import ANY_ID, WrittenFile
from producer.look.file_names import FileNames
from producer.look.problem import Kind, Problem
from producer.look.tally import FILES_COMPARED, FILES_FOUND, FILES_NOT_CHECKED, NO_FILES, Tally

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record
    from chunkflow_worker.job.written_paths import WrittenPaths
    from chunkflow_worker.storage.files import Files, Stored

_READ_AT_ONCE, _BYTES_AT_ONCE = 64, 1 << 28  # the most files, and bytes of them
_FAILURES = 3  # of one file after the other, each after many attempts

_Answer = TypeVar("_Answer")
_Found = dict[tuple[Kind, str], list[str]]
"""Names of files by what was found of them: a kind of problem, and words about it."""


class FileCheck:
    """Checks what a record says of files. Several threads may use it.

    paths: those that may be opened.
    tally: of what is compared.
    quick: read only files that were stored at another time than the record says.
    """

    def __init__(self, paths: WrittenPaths, tally: Tally, *, quick: bool):
        self._paths, self._tally, self._quick = paths, tally, quick
        self._names = cache(FileNames)
        self._listing = threading.Lock()
        self._listed: Callable[[str], ListedObjects | None] = lambda folder: None

    def list_files(self) -> None:
        """List the folders of files, where storage lists their times, and ask for no file."""
        if self._quick:
            self._listed = cache(listing_of)

    def holds(self, record: Record) -> bool:
        """Whether the record says anything of files."""
        return bool(record.files or record.no_files)

    def problems(self, record: Record) -> Iterator[Problem]:
        """What is wrong, or not known. Raises StorageUnavailable when nothing can be read."""
        refused: dict[str, list[str]] = {}
        folders: dict[str, tuple[dict[str, WrittenFile], list[str]]] = {}
        wanted: list[tuple[str, WrittenFile | None]] = [(f.path, f) for f in record.files]
        for path, file in [*wanted, *((path, None) for path in record.no_files)]:
            if why := self._paths.refusal(path):
                refused.setdefault(why, []).append(path)
                continue
            folder, _, name = normal_path(path).rpartition("/")
            written, unwritten = folders.setdefault(folder, ({}, []))
            if file is None:
                unwritten.append(name)
            else:
                written[name] = file
        for why, paths in refused.items():
            self._tally.add(FILES_NOT_CHECKED, len(paths))
            more = f", and {len(paths) - 1} more such paths" if len(paths) > 1 else ""
            yield Problem(record.bbox, "not-checked", paths[0], detail=f"{why}{more}")
        for folder, (written, unwritten) in folders.items():
            for (kind, detail), names in self._look(folder, written, unwritten).items():
                yield Problem(record.bbox, kind, folder, tuple(names), detail)

    def _look(self, folder: str, written: dict[str, WrittenFile], unwritten: list[str]) -> _Found:
        from chunkflow_worker.storage.files import Files

        files, found = Files(folder), _Found()
        unclear = []
        for name, stored in _ask(files, self._stored(files), [*written], found):
            wrong = _wrong_by_size(written[name], stored)
            if wrong is not None:
                found.setdefault(wrong, []).append(name)
            elif not written[name].crc32 or (self._quick and _is_old(written[name], stored)):
                self._tally.add(FILES_FOUND)
            else:
                unclear.append(name)
        for names in _parts(unclear, written):
            for name, crc32 in _ask(files, files.checksums, names, found):
                self._tally.add(FILES_COMPARED)
                if crc32 != written[name].crc32:
                    found.setdefault(("stale", "other bytes than the task wrote"), []).append(name)
        left = sorted({*self._existing(files, unwritten, found)} - {*written})
        self._tally.add(NO_FILES, max(len(unwritten) - len(left), 0))
        if left:
            found["stale", "of another run: the task wrote no such file"] = left
        return found

    def _stored(self, files: Files) -> Callable[[list[str]], dict[str, Stored | None]]:
        with self._listing:
            listed = self._listed(files.path)
        return files.stored if listed is None else listed.stored

    def _existing(self, files: Files, names: list[str], found: _Found) -> Iterator[str]:
        """The files that have one of these names."""
        plain = [name for name in names if ANY_ID not in name]
        asked = _ask(files, self._stored(files), plain, found)
        yield from (name for name, stored in asked if stored)
        for name in names:
            before, star, after = name.partition(ANY_ID)
            if star:
                with self._listing:
                    listed = self._names(files.path, before)
                yield from listed.ending(after)


def _ask(
    files: Files, ask: Callable[[list[str]], dict[str, _Answer]], names: list[str], found: _Found
) -> Iterable[tuple[str, _Answer]]:
    """Ask storage about files. Those of which it does not tell are added to `found`.

    Raises StorageUnavailable when the storage as a whole does not answer.
    """
    try:
        return ask(names).items()
    except StorageUnavailable:
        files.get("info")  # fails too if the storage does not answer
    answers: dict[str, _Answer] = {}
    failures = 0
    for name in names:
        try:
            answers |= ask([name])
            failures = 0
        except StorageUnavailable as error:
            failures += not isinstance(error, StorageRefused)
            if failures == _FAILURES:
                raise
            first: tuple[Kind, str] = ("unreadable", str(error).partition("\n")[0])
            key = next((key for key in found if key[0] == "unreadable"), first)
            found.setdefault(key, []).append(name)
    return answers.items()


def _wrong_by_size(file: WrittenFile, stored: Stored | None) -> tuple[Kind, str] | None:
    if stored is None:
        return "missing", ""
    if not file.crc32 or stored.size == file.size:
        return None
    if stored.size < file.size:
        return "damaged", "shorter than the task wrote it"
    return "stale", "longer than the task wrote it"


def _is_old(file: WrittenFile, stored: Stored | None) -> bool:
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
