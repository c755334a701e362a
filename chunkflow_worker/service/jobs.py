"""`Jobs`: which boxes belong to a job, by its record in the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic, sleep

from chunkflow_worker.errors import BoxOutsideJob, ConfigError, JobUnreadable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

APART_SECONDS = 1.0  # between two reads: what a stranger sends must not keep storage busy
_WITHOUT_SECONDS = 30.0  # for which a ledger without jobs is taken to have none

_COMPARE = "compare CHUNKFLOW_LEDGER and the variables of the pipeline here and there"


class Jobs:
    """The jobs of a ledger. Several threads may ask; only new and wrong boxes make them wait.

    clock, pause: seconds that pass, and a wait for some.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], object] = sleep,
    ):
        self._ledger, self._clock, self._pause = ledger, clock, pause
        self._lock = threading.Lock()
        self._known: dict[str, Boxes] = {}
        self._has_others = False
        self._next_read = self._without_until = -float("inf")

    def check(self, job: str, box: BoundingBox) -> None:
        """Check that the ledger has the job, and the job this box.

        A producer records a job before it sends the first message, so a job or a box that is not
        known is looked up again. Where the ledger has no job at all, any box passes, with a
        warning: a worker that writes elsewhere than the others looks so.
        Raises BoxOutsideJob, JobUnreadable where this version can't read the job's record, and
        StorageUnavailable where storage does not give it.
        """
        if self._has(job, box):
            return
        with self._lock:
            if self._has(job, box) or self._clock() < self._without_until:
                return
            self._pause(max(0.0, self._next_read - self._clock()))
            self._next_read = self._clock() + APART_SECONDS
            if self._read(job) and not self._has(job, box):
                raise BoxOutsideJob(f"box {box} is not a box of job {job}")

    def _has(self, job: str, box: BoundingBox) -> bool:
        return box in self._known.get(job, ())

    def _read(self, job: str) -> bool:
        """Read the record of a job; False where the ledger has no job at all."""
        try:
            record = self._ledger.job(job)
            if record is not None:
                self._known[job] = record.boxes()
                return True
        except ConfigError as error:
            self._known.pop(job, None)
            raise JobUnreadable(f"the record of job {job} can't be read here: {error}") from None
        path = self._ledger.path
        self._has_others = self._has_others or self._ledger.has_jobs()
        if self._has_others:
            raise BoxOutsideJob(
                f"ledger {path} has no job {job}, but others; if the job was enqueued with another "
                f"ledger or output, {_COMPARE}"
            )
        self._without_until = self._clock() + _WITHOUT_SECONDS
        warn_once(
            log,
            f"{path} has no record of job {job}; if the job was enqueued with another ledger or "
            f"output, the producer will not find what is done here: {_COMPARE}",
        )
        return False
