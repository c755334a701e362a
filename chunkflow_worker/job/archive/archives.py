"""`Archives`: the archives of a ledger, and the boxes whose archived records do not count.

Of several archives of a job, the last has all that is in the others: they remain when `archive` is
stopped before it removes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.job.archive.file import Archive
from chunkflow_worker.storage.files import Files

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.grid import Boxes

_FILE = re.compile(r"(?P<job>.+)\.(?P<number>[0-9]{4,9})\.parquet")


@dataclass
class _Known:
    """What was last listed: files with their sizes, and boxes."""

    files: dict[str, int] = field(default_factory=dict)
    void: frozenset[str] = frozenset()


class Archives:
    """Those of the ledger at a path. Several threads may share it.

    Methods raise StorageUnavailable, and ConfigError for an archive that is damaged.
    """

    def __init__(self, ledger: str):
        self.files, self._void = Files(f"{ledger}/archive"), Files(f"{ledger}/archive/void")
        self._known: _Known | None = None
        self._opened: dict[tuple[str, int], Archive] = {}
        self._marks: dict[tuple[str, int], tuple[Boxes, NDArray[np.uint8]]] = {}

    def refresh(self) -> None:
        """Look anew which there are: by two requests, unless very many boxes are void."""
        files = {}
        for one in self.files.listed():
            if _FILE.fullmatch(one.name):
                files[one.name] = one.size
        names = self._void.names() if files else iter(())
        void = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        self._known = _Known(files, frozenset(void))

    @property
    def void(self) -> frozenset[str]:
        """Boxes whose archived records do not count."""
        return self._now().void

    def names(self, job: str) -> list[str]:
        """The archives of a job, the last one at the end."""
        numbers = {}
        for name in self._now().files:
            found = _FILE.fullmatch(name)
            if found and found["job"] == job:
                numbers[int(found["number"])] = name
        return [name for _, name in sorted(numbers.items())]

    def of_job(self, job: str) -> Archive | None:
        """The archive of a job."""
        names = self.names(job)
        return self.open(names[-1]) if names else None

    def all(self) -> list[Archive]:
        """The last archive of each job, that which was made last at the beginning."""
        jobs = {found["job"] for name in self._now().files if (found := _FILE.fullmatch(name))}
        archives = [archive for job in jobs if (archive := self.of_job(job)) is not None]
        return sorted(archives, key=lambda one: (one.content.made, one.name), reverse=True)

    def marks(self, boxes: Boxes) -> NDArray[np.uint8] | None:
        """A bit for each box of the grid of a job whose archived record counts; None for none."""
        bits: NDArray[np.uint8] | None = None
        for archive in self.all():
            of_one = self._marks_of(archive, boxes)
            bits = of_one.copy() if bits is None else bits | of_one
        if bits is not None and self.void:
            from chunkflow_worker.job.box_index import BoxIndex

            index = BoxIndex(boxes)
            for place in map(index.of, self.void):
                if place is not None:
                    bits[place >> 3] &= 0xFF ^ (1 << (place & 7))
        return bits

    def texts(self, boxes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The archived records of boxes, as JSON, of those that count."""
        wanted = [box for box in boxes if box not in self.void]
        for archive in self.all():
            found = set()
            for box, text in archive.texts(wanted):
                found.add(box)
                yield box, text
            wanted = [box for box in wanted if box not in found]

    def all_texts(self) -> Iterator[tuple[str, str]]:
        """All archived records that count, each once."""
        seen = set[str](self.void)
        archives = self.all()
        for archive in archives:
            for box, text in archive.all_texts():
                if box not in seen:
                    yield box, text
                if len(archives) > 1:
                    seen.add(box)

    def write(self, job: str, path: Path) -> str:
        """Store a file as the archive of a job; returns its name."""
        names = self.names(job)
        last = int(names[-1].split(".")[-2]) if names else 0
        name = f"{job}.{last + 1:04d}.parquet"
        self.files.put_file(name, path)
        self.refresh()
        return name

    def size(self, name: str) -> int:
        """Bytes of an archive."""
        return self._now().files[name]

    def remove(self, name: str) -> None:
        """Delete an archive."""
        self.files.delete(name)
        self.refresh()

    def make_void(self, box: str) -> None:
        """Note that the archived record of a box does not count any more."""
        self._void.put_json(f"{box}.json", {})
        known = self._now()
        self._known = _Known(known.files, known.void | {box})

    def end_void(self, boxes: Iterable[str]) -> None:
        """Remove these notes, when no archive has the boxes."""
        self._void.delete_all(f"{box}.json" for box in boxes)
        self.refresh()

    def _now(self) -> _Known:
        if self._known is None:
            self.refresh()
        assert self._known is not None
        return self._known

    def open(self, name: str) -> Archive:
        """The archive of this name."""
        key = (name, self._now().files[name])
        if key not in self._opened:
            self._opened[key] = Archive(self.files, *key)
        return self._opened[key]

    def _marks_of(self, archive: Archive, boxes: Boxes) -> NDArray[np.uint8]:
        key = (archive.name, self._now().files[archive.name])
        if key not in self._marks or self._marks[key][0] != boxes:
            self._marks[key] = boxes, archive.marks(boxes)
        return self._marks[key][1]
