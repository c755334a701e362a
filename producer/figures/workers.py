"""`Workers`: each worker of a job: device, host, first and last sign, and how busy it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.figures.moments import span_of
from producer.figures.spans import Spans

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

MOST = 20_000  # workers that are told apart; further ones count together
OTHERS = "further workers"
_SPANS = 60  # of a worker that are shown
_OWN_NUMBER = re.compile(r"(-gpu[\w.:,-]+|-\d+)$")


@dataclass(frozen=True)
class WorkerFigures:
    """A worker; times are seconds, or seconds since 1970.

    host: its name without the number of its process or GPU. device: that it computed on.
    first, last: when its first task started, and its last one ended.
    tasks: that it did. failed: boxes whose last attempt it was.
    busy: seconds in which it had a task or several. device_busy: seconds of the operators that
        compute on the device, without the time that they waited for it; None if it ran no net.
    spans: in which it was busy, with the smallest gaps closed.
    """

    name: str
    host: str
    device: str
    first: float
    last: float
    tasks: int
    failed: int
    busy: float
    task_seconds: float
    waited: float
    device_busy: float | None
    spans: tuple[tuple[float, float], ...]

    @property
    def there(self) -> float:
        """Seconds from its first sign to its last."""
        return self.last - self.first


class _Worker:
    def __init__(self) -> None:
        self.device, self.spans = "", Spans()
        self.tasks = self.failed = 0
        self.waited = self.computed = self.seconds = 0.0
        self.computes = False

    def add(self, record: Record, span: tuple[float, float]) -> None:
        self.spans.add(*span)
        self.device = record.compute_device or self.device
        self.failed += record.state == "failed"
        self.tasks += record.state != "failed"
        self.waited += record.waited
        self.seconds += record.seconds
        if record.patches or record.patches_skipped:
            self.computes = True
            self.computed += record.device_seconds

    def found(self, name: str) -> WorkerFigures:
        spans = self.spans.found(_SPANS)
        return WorkerFigures(
            name,
            host_of(name),
            self.device,
            spans[0][0],
            spans[-1][1],
            self.tasks,
            self.failed,
            self.spans.seconds,
            self.seconds,
            self.waited,
            self.computed if self.computes else None,
            tuple(spans),
        )


class Workers:
    """Adds up records by worker."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}

    def add(self, record: Record) -> None:
        span = span_of(record)
        if span is None:
            return
        name = record.worker if record.worker in self._workers or self._has_room else OTHERS
        self._workers.setdefault(name, _Worker()).add(record, span)

    def found(self) -> tuple[WorkerFigures, ...]:
        """The workers, by host and first sign."""
        found = (worker.found(name) for name, worker in self._workers.items())
        return tuple(sorted(found, key=lambda one: (one.host, one.first, one.name)))

    @property
    def _has_room(self) -> bool:
        return len(self._workers) < MOST


def host_of(worker: str) -> str:
    """The host in the name that a worker has by default: <host>-<process> or <host>-gpu<device>."""
    return _OWN_NUMBER.sub("", worker.removeprefix("local-")) or worker
