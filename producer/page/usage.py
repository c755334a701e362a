"""`Usage`: what a job has used, and how much of it left nothing, by the records that were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producer.figures.tasks import Tasks
from producer.figures.workers import Workers

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record


class Usage:
    """The figures of the report; boxes that were not read count like those that were.

    job: whose records count.
    """

    def __init__(self, job: str):
        self._job = job
        self._tasks, self._workers = Tasks(), Workers()
        self._read, self._seconds = 0, 0.0

    def add(self, record: Record) -> None:
        """A record of a box that is done."""
        if record.job == self._job:
            self._tasks.add(record)
            self._workers.add(record)
            self._read += 1
            self._seconds += record.seconds

    @property
    def mean(self) -> float | None:
        """Seconds of a task, skipped ones included; None while none is known."""
        return self._seconds / self._read if self._read else None

    @property
    def mean_done(self) -> float:
        """Seconds of a task that was not skipped."""
        return self._tasks.found().mean

    def device_busy(self, done: int) -> float | None:
        """The share of the time of the workers with nets in which nets ran; None without a net.

        done: boxes of the job.
        """
        with_nets = [
            (worker.device_busy, worker.there)
            for worker in self._workers.found()
            if worker.device_busy is not None
        ]
        busy, there = (sum(one) for one in zip(*with_nets, strict=True)) if with_nets else (0, 0)
        return min(1.0, busy * self._done_per_read(done) / there) if there else None

    def lost_seconds(self, done: int) -> float:
        """Of attempts that left nothing, of boxes that are done: each counts as a mean task."""
        return self._tasks.found().lost_seconds * self._done_per_read(done)

    def _done_per_read(self, done: int) -> float:
        """How many boxes are done for each record that was read."""
        return max(1.0, done / self._read) if self._read else 1.0
