"""`Nets`: which nets and plugins the boxes of a job come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from chunkflow_worker.report.progress import boxes_text

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

_WORKERS = 3  # named in a line


@dataclass(frozen=True)
class Net:
    """What some boxes were computed with.

    files: digests of the files of models and plugins, by operator and option.
    boxes: their number. workers: names of those that did them.
    """

    files: dict[str, str]
    boxes: int
    workers: list[str]


@dataclass
class _Boxes:
    count: int = 0
    workers: set[str] = field(default_factory=set)


class Nets:
    """Counts the nets of records. Several threads may add to it."""

    def __init__(self, records: Iterable[Record] = ()):
        self._found: dict[tuple[tuple[str, str], ...], _Boxes] = {}
        self._lock = Lock()
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Count a box. One that was skipped, or without net and plugin, counts for none."""
        if record.state != "done" or not record.models:
            return
        key = tuple(sorted(record.models.items()))
        with self._lock:
            found = self._found.setdefault(key, _Boxes())
            found.count += 1
            found.workers.add(record.worker)

    def found(self) -> list[Net]:
        """The nets, that of most boxes first."""
        nets = [Net(dict(key), of.count, sorted(of.workers)) for key, of in self._found.items()]
        return sorted(nets, key=lambda net: (-net.boxes, sorted(net.files.items())))


def has_file(record: Record, digest: str) -> bool:
    """Whether a box comes from a net with a file of that digest, or its beginning."""
    return any(found.startswith(digest) for found in record.models.values())


def net_lines(nets: list[Net]) -> list[str]:
    """One line for each net: its boxes, its workers, and the files that not all have."""
    common = set.intersection(*(set(net.files.items()) for net in nets)) if nets else set()
    lines = []
    for net in nets:
        more = len(net.workers) - _WORKERS
        workers = ", ".join(net.workers[:_WORKERS]) + (f" and {more} more" if more > 0 else "")
        files = ", ".join(
            f"{place} {digest}"
            for place, digest in sorted(net.files.items())
            if (place, digest) not in common
        )
        lines.append(f"{boxes_text(net.boxes)} by {workers}: {files or 'no further file'}")
    return lines
