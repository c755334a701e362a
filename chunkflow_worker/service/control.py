"""`Control`: what people and workers have decided about a job, as this worker knows it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.job.state import RUNNING, JobState, JobStates
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

APART_SECONDS = 1.0  # between two jobs that are new: messages of a stranger may name any
_MOST_JOBS = 1_000  # that are remembered


@dataclass
class _Known:
    """The state of a job, until when it counts as fresh, and how many messages were dropped."""

    state: JobState
    until: float
    dropped: int = 0


class Control:
    """The states of the jobs whose messages come. Several threads may ask.

    A state is read when the first message of its job comes, and then at most once in `seconds`.
    While storage does not answer, the last one that is known counts.

    clock, pause: seconds that pass, and a wait for some.
    """

    def __init__(
        self,
        states: JobStates,
        seconds: float = 10.0,
        clock: Callable[[], float] = elapsed,
        pause: Callable[[float], object] = sleep,
    ):
        self._states, self._seconds = states, seconds
        self._clock, self._pause = clock, pause
        self._outage = Outage("storage (states of jobs)")
        self._reading, self._meeting = threading.Lock(), threading.Lock()
        self._next_new = -float("inf")
        self._known: dict[str, _Known] = {}

    def state(self, job: str) -> JobState:
        """The state of a job. A thread that knows one does not wait for another that reads."""
        known = self._known.get(job) or self._meet(job)
        if self._clock() >= known.until and self._reading.acquire(blocking=False):
            try:
                known = self._look(job)
            finally:
                self._reading.release()
        return known.state

    def _meet(self, job: str) -> _Known:
        """Read the state of a job that is new; one after the other, and not too many."""
        with self._meeting:
            known = self._known.get(job)
            if known is None:
                self._pause(max(0.0, self._next_new - self._clock()))
                self._next_new = self._clock() + APART_SECONDS
                with self._reading:
                    known = self._look(job)
            return known

    def pause(self, job: str, state: JobState) -> bool:
        """Pause a job, unless it is paused or cancelled by now. Returns whether this did it.

        Raises StorageUnavailable.
        """
        with self._reading:
            now = self._states.read(job)
            if now.state == "running":
                self._states.write(job, state)
                self._know(job, state)
                return True
            self._know(job, now)
            return False

    def note_dropped(self, job: str) -> None:
        """Count a message of a cancelled job that was dropped; tells 1, 10, 100 and so on."""
        with self._reading:
            known = self._known.get(job)
            if known is None:
                return
            known.dropped += 1
            count = known.dropped
        if str(count).strip("0") == "1":
            log.info("job %s is cancelled: messages dropped by this worker: %d", job, count)

    def _look(self, job: str) -> _Known:
        try:
            state = self._states.read(job)
        except ChunkflowError as error:
            self._outage.failed(error)
            known = self._known.get(job)
            return self._know(job, known.state if known else RUNNING)
        self._outage.answered()
        before = self._known.get(job)
        if state != (before.state if before else RUNNING):
            log.warning("job %s is %s (by %s)", job, state.text, state.by or "nobody")
        return self._know(job, state)

    def _know(self, job: str, state: JobState) -> _Known:
        before = self._known.pop(job, None)
        while len(self._known) >= _MOST_JOBS:
            del self._known[next(iter(self._known))]
        known = _Known(state, self._clock() + self._seconds, before.dropped if before else 0)
        self._known[job] = known
        return known
