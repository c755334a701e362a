"""`Tasks`: numbers of tasks, attempts, voxels, bytes and patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.figures.quantiles import Quantiles

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

SLOW = 3.0
"""A task that takes so many times the median is a straggler."""


@dataclass(frozen=True)
class TaskFigures:
    """Sums over the tasks of a job; times are seconds.

    done, skipped: boxes that this job did. failed: boxes that are not done, and whose last attempt
        failed; given_up: those of them for which no attempt is left.
    attempts: of all boxes. retries: of them, after the first ones.
    retried: boxes that are done, but not at the first attempt.
    voxels: of boxes that are done. patches, patches_skipped: see `Record`.
    seconds: of tasks that are done, from start to end; they overlap where a worker has several.
    waited: for the device. mean, median, p95, longest: of a task.
    stragglers: tasks that took more than three times the median.
    lost_seconds: of attempts that left nothing: those that failed as their records say, and the
        others at `mean` each. recorded_lost: the part that records say.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    given_up: int = 0
    attempts: int = 0
    retries: int = 0
    retried: int = 0
    voxels: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_reused: int = 0
    patches: int = 0
    patches_skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    mean: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    longest: float = 0.0
    stragglers: int = 0
    lost_seconds: float = 0.0
    recorded_lost: float = 0.0
    memory_peak: int = 0


class Tasks:
    """Adds up records of one job."""

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}
        self._times, self._waited, self._failed_seconds = Quantiles(), 0.0, 0.0
        self._unrecorded = self._memory = 0

    def add(self, record: Record) -> None:
        attempts = max(1, record.attempts)
        self._count("attempts", attempts)
        self._count("retries", attempts - 1)
        self._count(record.state)
        self._unrecorded += attempts - 1
        self._memory = max(self._memory, record.memory_peak)
        if record.state == "failed":
            self._count("given_up", record.final)
            self._failed_seconds += record.seconds
            return
        self._count("retried", attempts > 1)
        for name in _SUMS:
            self._count(name, getattr(record, name))
        if record.state == "done":
            self._count("voxels", record.voxels)
            self._times.add(record.seconds)
            self._waited += record.waited

    def found(self) -> TaskFigures:
        times = self._times
        return TaskFigures(
            **self._sums,
            seconds=times.total,
            waited=self._waited,
            mean=times.mean,
            median=times.median,
            p95=times.at(0.95),
            longest=times.largest,
            stragglers=times.above(SLOW * times.median),
            lost_seconds=self._failed_seconds + self._unrecorded * times.mean,
            recorded_lost=self._failed_seconds,
            memory_peak=self._memory,
        )

    def _count(self, name: str, number: int = 1) -> None:
        self._sums[name] = self._sums.get(name, 0) + number


_SUMS = ("bytes_read", "bytes_written", "bytes_reused", "patches", "patches_skipped")
