"""`Packer`: packs the records of a job's boxes into an archive, and then may delete them.

An archive is written, read back and compared before anything is deleted. So this may end at any
moment: the records are then still there, or in the archive, or in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.job.archive.columns import Row, row_of
from chunkflow_worker.job.archive.file import Archive, Content, write_archive
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.failing import FailingBoxes
from chunkflow_worker.job.in_order import in_order_if_waiting

if TYPE_CHECKING:
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.storage.s3_listing import Listed

_BATCH, _AT_ONCE = 500, 4  # records that are read; batches of them

Show = Callable[[int], object]
"""Called with the number of boxes that were looked at."""


@dataclass(frozen=True)
class Packed:
    """What was archived.

    path, bytes: of the archive. boxes: of the job. archived: records in the archive.
    added: of them, that were not in the archive before. left: boxes that are not done.
    deleted: records that were deleted. kept: that were not, since they were written anew meanwhile
        or can't be read; None where none was to be deleted.
    """

    job: str
    path: str
    bytes: int
    boxes: int
    archived: int
    added: int
    left: int
    deleted: int | None = None
    kept: int | None = None


class Packer:
    """Packs the records of one job.

    Methods raise ConfigError for an archive that is damaged, and StorageUnavailable.
    """

    def __init__(self, ledger: ArchivedLedger, job: JobRecord):
        self._ledger, self._archives, self._job = ledger, ledger.archives, job.job
        self._boxes: Boxes = job.boxes()
        self._index = BoxIndex(self._boxes)
        count = self._boxes.last - self._boxes.first
        # Of each record: what tells whether it was written anew. 0 for none.
        self._tags: NDArray[np.int64] = np.zeros(count, np.int64)
        self._is_packed: NDArray[np.bool_] = np.zeros(count, bool)

    def pack(self, show: Show = lambda count: None) -> Packed:
        """Bring the archive of the job up to date. Deletes no record.

        Raises ConfigError when no box is done.
        """
        self._archives.refresh()
        old = self._archives.of_job(self._job)
        if old is not None:
            old.check()
        for listed, place in self._listed():
            self._tags[place] = self._tag(listed)
        if old is not None and not self._tags.any() and not self._void():
            self._remove_all_but(old.name)
            return self._packed(old, 0)
        rows = _Rows(self, show)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "archive.parquet"
            content = write_archive(path, self._job, rows)
            if not content.rows:
                problem = f"no box of job {self._job} is done"
                raise ConfigError.one(self._ledger.path, "records", problem, "wait until some are")
            if old is not None and rows.added == 0 and _same(old.content, content):
                name = old.name
            else:
                name = self._archives.write(self._job, path)
                self._check(name, content.crc32)
        self._remove_all_but(name)
        return self._packed(self._archives.open(name), rows.added)

    def _remove_all_but(self, name: str) -> None:
        """Remove the job's earlier archives: the last one has all that is in them."""
        for other in self._archives.names(self._job):
            if other != name:
                self._archives.remove(other)

    def _packed(self, archive: Archive, added: int) -> Packed:
        boxes, rows = len(self._boxes), archive.content.rows
        size = self._archives.size(archive.name)
        return Packed(self._job, archive.place, size, boxes, rows, added, boxes - rows)

    def _void(self) -> set[str]:
        """Boxes of the job whose archived records do not count."""
        return {box for box in self._archives.void if self._index.of(box) is not None}

    def delete_records(self, show: Show = lambda count: None) -> tuple[int, int]:
        """Delete the records that `pack` has archived, unless they were written anew meanwhile.

        Returns how many were deleted, and how many records of success the job's boxes keep.
        """
        void = self._void()
        others = [one for one in self._archives.all() if one.content.job != self._job]
        # Another job's archive has an old record of the box, so its own record must stay.
        elsewhere = {box for archive in others for box, _ in archive.texts(void)}
        self._archives.end_void(void - elsewhere)
        deleted = kept = 0
        listed = self._listed()
        while batch := list(islice(listed, _BATCH * 2)):
            names = {name for name in self._unchanged(batch) if name not in elsewhere}
            self._ledger.files.delete_all(f"{name}.json" for name in names)
            deleted, kept = deleted + len(names), kept + len(batch) - len(names)
            show(deleted)
        FailingBoxes(self._ledger.path).forget(self._job)
        return deleted, kept

    def read(self, names: list[str]) -> tuple[list[Row], int]:
        """The records of boxes: their own, or else the archived ones; and how many are new."""
        places = {name: place for name in names if (place := self._index.of(name)) is not None}
        own = [name for name, place in places.items() if self._tags[place]]
        rows = {r.bbox: row_of(r, content) for r, content in self._ledger.own_records(own)}
        for name, row in rows.items():
            self._is_packed[places[name]] = True
            if not self._ledger.files.lists_times:
                self._tags[places[name]] = _number(row.text)
        archived = dict(self._archives.texts(names))
        new = sum(archived.get(name) != row.text for name, row in rows.items())
        others = [name for name in archived if name not in rows]
        rows |= {r.bbox: Row(r, text) for r, text in self._ledger.archived_records(others)}
        return [rows[name] for name in names if name in rows], new

    def texts(self) -> Iterator[str]:
        """The names of the job's boxes."""
        return self._boxes.texts()

    def _check(self, name: str, crc32: int) -> None:
        """Read a new archive back, and delete it if it is not what was written."""
        try:
            archive = self._archives.open(name)
            archive.check()
            is_right = archive.content.crc32 == crc32
        except ConfigError:
            is_right = False
        if not is_right:
            self._archives.remove(name)
            path = f"{self._archives.files.path}/{name}"
            raise StorageUnavailable(
                f"{path} could not be read back as it was written, so it was deleted; all records "
                "are still there; try again"
            )

    def _listed(self) -> Iterator[tuple[Listed, int]]:
        """The records of success of the job's boxes, and their places."""
        for listed in self._ledger.files.listed():
            name = listed.name.removesuffix(".json")
            place = self._index.of(name) if name != listed.name else None
            if place is not None:
                yield listed, place

    def _unchanged(self, listed: Iterable[tuple[Listed, int]]) -> Iterator[str]:
        """The boxes of those that are as they were when they were packed."""
        doubtful = []
        for one, place in listed:
            name = one.name.removesuffix(".json")
            if not self._is_packed[place]:
                continue
            if not self._ledger.files.lists_times:
                doubtful.append(name)
            elif self._tags[place] == self._tag(one):
                yield name
        for record, content in self._ledger.own_records(doubtful):
            at = self._index.of(record.bbox)
            if at is not None and _number(row_of(record, content).text) == self._tags[at]:
                yield record.bbox

    def _tag(self, listed: Listed) -> int:
        return _number(f"{listed.tag} {listed.size} {listed.time}")


class _Rows:
    """The rows of an archive, in the order of the boxes. added: how many are new."""

    def __init__(self, packer: Packer, show: Show):
        self._packer, self._show, self.added = packer, show, 0

    def __iter__(self) -> Iterator[Row]:
        texts = self._packer.texts()
        batches = iter(lambda: list(islice(texts, _BATCH)), [])
        count = 0
        read = in_order_if_waiting(self._packer.read, batches, _AT_ONCE, name="records")
        for rows, added in read:
            yield from rows
            count, self.added = count + _BATCH, self.added + added
            self._show(count)


def _same(one: Content, other: Content) -> bool:
    return (one.rows, one.crc32) == (other.rows, other.crc32)


def _number(text: str) -> int:
    """A number for a text, which is not 0."""
    return hash(text) or 1
