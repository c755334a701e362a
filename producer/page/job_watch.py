"""`JobWatch`: looks at a job again and again, with few requests each time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.stages import file_ledger
from producer.look.job import no_job
from producer.look.status import SAMPLE, StatusPoll
from producer.look.watch import Rate
from producer.page.box_states import box_states
from producer.page.failed_boxes import MOST_FAILED, FailedBoxes
from producer.page.history import History, range_of
from producer.page.read_records import ReadRecords
from producer.page.snapshot import Snapshot
from producer.page.workers import Workers, boxes_in_hand, rows

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.heartbeat import Beat
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.sqs import Queue
    from producer.look.status import JobStatus
    from producer.look.survey import Marks

# Requests of one look: 50 at most of the survey, 40 for heartbeats on average, and these.
_DONE, _FAILED = 4, 3
_FIRST, _LOCAL = 100, 500  # records of the first look; of each look, on this machine's disk


@dataclass(frozen=True)
class Target:
    """The job that a page shows.

    stage: of the pipeline file; empty for a file without stages.
    client, queue: None for a job without a queue. pipeline, ledger_option: as they were given, for
    commands that the page shows.
    """

    ledger: Ledger
    job: str
    client: Any = None
    queue: Queue | None = None
    pipeline: Path | None = None
    ledger_option: str | None = None
    stage: str = ""


class JobWatch:
    """Looks at one job. Only one thread may use it.

    The memory is about 30 bytes a box.
    """

    def __init__(self, target: Target):
        self._target = target
        self._poll = StatusPoll(target.client, target.queue, target.ledger, target.job)
        self._rate = Rate(time.monotonic())
        self._workers = Workers(file_ledger(target.ledger.path, target.stage))
        self._failed = FailedBoxes(target.ledger)
        self.history = History()
        self._number = 0
        self._index: BoxIndex | None = None
        self._records: ReadRecords | None = None

    def look(self) -> Snapshot:
        """Raises ConfigError, QueueUnavailable and StorageUnavailable."""
        first = self._records is None
        mean = self._records.usage.mean if self._records else None
        status = self._poll.ask(SAMPLE if first else 0, mean)
        survey = self._poll.survey
        if survey is None:
            raise no_job(self._target.ledger)
        status = replace(status, rate=self._rate.update(time.monotonic(), status))
        marks, boxes = survey.marks(), survey.boxes
        records, index = self._opened(boxes, len(marks.of_job))
        records.read_more(marks.own, self._at_once(_FIRST if first else _DONE))
        self._read_failed(marks, index)
        beats = self._workers.look()
        median = records.median
        places = self._places
        states = box_states(
            marks,
            records.skipped,
            records.slow(median),
            places(index, self._failed.final),
            places(index, boxes_in_hand(beats, self._target.job)),
        )
        if first:
            self.history.estimate(records.finished, status.done)
        now = time.time()
        point = self.history.add(now, status.done)
        self._number += 1
        ends = range_of(status.eta_seconds, self.history.counted())
        facts = self._facts(status, beats, records, median)
        return Snapshot(self._number, now, status, boxes, states, point, ends, facts)

    def _opened(self, boxes: Any, count: int) -> tuple[ReadRecords, BoxIndex]:
        """Anew where the job has grown."""
        if self._records is None or self._index is None or len(self._records.seconds) != count:
            self._index = BoxIndex(boxes)
            self._records = ReadRecords(self._target.ledger, self._index, count, self._target.job)
        return self._records, self._index

    def _at_once(self, records: int) -> int:
        return _LOCAL if self._target.ledger.files.is_local else records

    def _read_failed(self, marks: Marks, index: BoxIndex) -> None:
        failed = islice(np.flatnonzero(marks.failed).tolist(), MOST_FAILED)
        self._failed.read_some([index.name(place) for place in failed], self._at_once(_FAILED))

    @staticmethod
    def _places(index: BoxIndex, names: list[str]) -> list[int]:
        return [place for name in names if (place := index.of(name)) is not None]

    def _facts(
        self, status: JobStatus, beats: list[Beat], records: ReadRecords, median: float | None
    ) -> dict[str, Any]:
        target = self._target
        queue = target.queue.name if target.queue else ""
        groups = self._failed.groups(queue, target.pipeline, target.ledger_option, target.stage)
        usage, done = records.usage, status.done
        return {
            "failures": groups,
            "failuresRead": self._failed.read,
            "workers": rows(beats),
            "alive": sum(beat.is_alive for beat in beats),
            "median": median,
            "read": records.count,
            "retries": records.retries,
            "operators": dict(records.operators.sums),
            "overTime": records.operators.over_time(),
            "deviceBusy": usage.device_busy(done),
            "lost": usage.lost_seconds(done) + self._failed.lost_seconds(usage.mean_done),
            "voxelsPerSecond": (status.rate or 0.0) * records.voxels_per_box,
        }
