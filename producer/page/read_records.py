"""`ReadRecords`: what the records of done boxes say, as far as they were read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from producer.figures.tasks import SLOW
from producer.page.operator_times import OperatorTimes
from producer.page.usage import Usage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.job.box_index import BoxIndex
    from chunkflow_worker.job.ledger import Ledger

_ENOUGH = 12  # records, to tell what is slow
_KEPT = 20_000  # times that are kept


class ReadRecords:
    """Reads some more records of a job at each look, chosen at random.

    skipped: boxes whose record says so. seconds: that each took; NaN where that is not known.
    finished: when the boxes that were read were done, in seconds since 1970.
    operators: the seconds of each operator. usage: of the job.
    """

    def __init__(self, ledger: Ledger, index: BoxIndex, count: int, job: str):
        self._ledger, self._index = ledger, index
        self._chance = np.random.default_rng()
        self._read = np.zeros(count, bool)
        self.skipped = np.zeros(count, bool)
        self.seconds = np.full(count, np.nan, np.float32)
        self.finished: list[float] = []
        self.operators, self.usage = OperatorTimes(), Usage(job)
        self.count = self.retries = 0
        self._voxels = 0

    def read_more(self, own: NDArray[np.bool_], most: int) -> None:
        """Read `most` records of those boxes that have one of their own.

        Raises StorageUnavailable.
        """
        unread = np.flatnonzero(own & ~self._read)
        if len(unread) > most:
            unread = np.unique(unread[self._chance.integers(len(unread), size=most)])
        self._read[unread] = True
        for record in self._ledger.records(map(self._index.name, unread.tolist())):
            place = self._index.of(record.bbox)
            if place is None:
                continue
            self.count += 1
            self.retries += record.attempts > 1
            self._voxels += record.voxels
            self.skipped[place] = record.state == "skipped"
            self.usage.add(record)
            finished = None
            if record.finished:
                finished = datetime.fromisoformat(record.finished).timestamp()
            if record.state == "done":
                self.seconds[place] = record.seconds
                self.operators.add(finished, record.timer)
            if finished is not None and len(self.finished) < _KEPT:
                self.finished.append(finished)

    @property
    def median(self) -> float | None:
        """Seconds of a box that was not skipped; None while few are known."""
        known = self.seconds[~np.isnan(self.seconds)]
        return float(np.median(known)) if len(known) >= _ENOUGH else None

    @property
    def voxels_per_box(self) -> float:
        return self._voxels / self.count if self.count else 0.0

    def slow(self, median: float | None) -> NDArray[np.bool_]:
        """Boxes that took far longer than others."""
        if not median:
            return np.zeros(len(self.seconds), bool)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.seconds > SLOW * median)
