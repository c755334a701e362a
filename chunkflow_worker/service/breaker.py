"""`Breaker`: pauses a job whose boxes fail for one cause, before it burns through all of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field

from chunkflow_worker.job.cause import cause_of
from chunkflow_worker.job.failing import FailingBoxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import JobState
from chunkflow_worker.report.events import JobPausedByBreaker, Subscriber, publish
from chunkflow_worker.service.control import Control

log = logging.getLogger(__name__)

_MOST_JOBS = 1_000  # whose attempts are remembered
_OWN_PART = 4  # of the limit: the failures that this worker must have seen itself


@dataclass
class _Attempts:
    """The latest attempts of a job in this worker: causes of failures, and "" for successes.

    state: of the job when it was last started.
    """

    state: JobState
    causes: deque[str] = field(default_factory=deque)


class Breaker:
    """The circuit breaker of one worker.

    A job is paused when three things hold for one cause of failure since its last start:

    - `failures` boxes have failed for it, in all workers together, and are not done meanwhile;
    - this worker has seen a quarter of so many failures itself;
    - of its latest attempts, at most `failures`, the share that failed for this cause is `share` or
      more. So boxes that are wrong among many that are right do not pause a job.

    failures: 0 never pauses a job. worker: its name.
    """

    def __init__(
        self,
        control: Control,
        ledger: Ledger,
        worker: str,
        failures: int = 20,
        share: float = 0.5,
        subscribers: tuple[Subscriber, ...] = (),
    ):
        self._control, self._ledger, self._worker = control, ledger, worker
        self._failures, self._share, self._subscribers = failures, share, subscribers
        self._failing = FailingBoxes(ledger.path)
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempts] = {}

    def done(self, job: str) -> None:
        """Note a success."""
        if self._failures:
            self._note(job, "")

    def failed(self, job: str, box: str, error: str) -> None:
        """Note a failure, and pause the job if it is one too many. Never raises."""
        if not self._failures:
            return
        cause = cause_of(error)
        attempts, count, share = self._note(job, cause)
        if share < self._share:
            return
        try:
            self._failing.note(job, attempts.state, cause, box)
            if count >= max(1, self._failures // _OWN_PART):
                self._count(job, attempts.state, cause, f"{count} of {round(count / share)}")
        except Exception as failure:
            log.warning("whether job %s is to be paused is not known: %s", job, failure)

    def _note(self, job: str, cause: str) -> tuple[_Attempts, int, float]:
        """Note an attempt; returns the count and the share of the latest with this cause."""
        state = self._control.state(job)
        with self._lock:
            attempts = self._attempts.pop(job, None)
            if attempts is None or attempts.state != state:
                attempts = _Attempts(state, deque(maxlen=self._failures))
            while len(self._attempts) >= _MOST_JOBS:
                del self._attempts[next(iter(self._attempts))]
            self._attempts[job] = attempts
            attempts.causes.append(cause)
            count = attempts.causes.count(cause)
            return attempts, count, count / len(attempts.causes)

    def _count(self, job: str, state: JobState, cause: str, own: str) -> None:
        """Pause the job if so many boxes fail for this cause in all workers."""
        boxes = self._failing.boxes(job, state, cause)
        if len(boxes) < self._failures:
            return
        boxes -= {record.bbox for record in self._ledger.records(boxes)}
        if len(boxes) < self._failures:
            return
        why = (
            f"{len(boxes)} boxes failed for one cause, and {own} latest attempts of worker "
            f"{self._worker}: {cause}"
        )
        if self._control.pause(job, JobState.now("paused", f"worker {self._worker}", why)):
            log.error(
                "job %s is paused: %s; mend it, then run: chunkflow-producer resume --job %s",
                *(job, why, job),
            )
            publish(JobPausedByBreaker(job, cause, len(boxes)), self._subscribers)
