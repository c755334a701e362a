"""`Jobs`: which boxes belong to a job, by its record in the ledger."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from chunkflow_worker.errors import BoxOutsideJob, ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)


class Jobs:
    """The jobs of a ledger, each read once."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._lock = threading.Lock()
        self._known: dict[str, Boxes | None] = {}

    def check(self, job: str, box: BoundingBox) -> None:
        """Check that the job has this box.

        A job without a record, or with one that this version can't read, may have any box. One
        without a record is warned of: a worker that writes elsewhere than the others looks so.
        Raises BoxOutsideJob, and StorageUnavailable when the record can't be read.
        """
        with self._lock:
            if job not in self._known:
                self._read(job)
            if self._has(job, box):
                return
            self._read(job)  # more parts of the job may have been sent since
            if not self._has(job, box):
                raise BoxOutsideJob(f"box {box} is not a box of job {job}")

    def _has(self, job: str, box: BoundingBox) -> bool:
        boxes = self._known[job]
        return boxes is None or box in boxes

    def _read(self, job: str) -> None:
        record = next((r for r in self._ledger.jobs() if r.job == job), None)
        boxes = None
        if record is None:
            warn_once(
                log,
                f"{self._ledger.path} has no record of job {job}; if the job was enqueued with "
                "another ledger or output, the producer will not find what is done here: compare "
                "CHUNKFLOW_LEDGER and the variables of the pipeline here and there",
            )
        elif record.grid:
            with suppress(ConfigError):
                boxes = record.boxes()
        self._known[job] = boxes
