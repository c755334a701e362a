"""`JobState`: whether workers do the boxes of a job now.

    <ledger>/states/<job>.json      what a person or a worker last decided; absent: running

The producer's commands write it, and workers that see a job fail. Workers read it every few
seconds. It is small and bounded. One that can't be read counts as running, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from chunkflow_worker.job.sqs import MAX_DELAY_SECONDS
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.files import Files

log = logging.getLogger(__name__)

_MOST_BYTES = 20_000  # of an object that is one
_MOST_ABSENT = 1_000  # jobs without a state that are remembered
_LEAST_DELAY = 5  # seconds
_MOST_TEXT = 4_000  # characters

State = Literal["running", "paused", "cancelled"]


def _clipped(text: str) -> str:
    return text[:_MOST_TEXT]


_Text = Annotated[str, AfterValidator(_clipped)]


class JobState(BaseModel):
    """The state of a job.

    why: the reason, in words; may be empty. by: who decided. at: when; None for a job of which
        nobody has decided anything.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: State = "running"
    why: _Text = ""
    by: _Text = ""
    at: AwareDatetime | None = None

    @classmethod
    def now(cls, state: State, by: str, why: str = "") -> JobState:
        """A decision of this moment."""
        at = datetime.now(UTC).replace(microsecond=0)
        return cls(state=state, by=_clipped(by), why=_clipped(why), at=at)

    @property
    def text(self) -> str:
        """The state in one line, for example "paused: the net is wrong"."""
        return f"{self.state}: {self.why}" if self.why else self.state

    def delay_seconds(self, now: datetime | None = None) -> int:
        """For how long workers put a message of the job aside while it is paused.

        That is half of the time since the pause, at least 5 s and at most the 15 minutes of SQS. So
        a long pause costs few requests, and after a short one the messages are soon there again.
        """
        paused = ((now or datetime.now(UTC)) - self.at).total_seconds() if self.at else 0.0
        return round(min(MAX_DELAY_SECONDS, max(_LEAST_DELAY, paused / 2)))


RUNNING = JobState()


class JobStates:
    """The states of the jobs of one ledger. Several threads may share it.

    ledger: its path. Methods raise StorageUnavailable.
    """

    def __init__(self, ledger: str):
        self._files = Files(f"{ledger}/states")
        self._absent: set[str] = set()

    def read(self, job: str) -> JobState:
        """The state of a job. The first time that it has none, look for what is no JSON."""
        content = self._files.get_json(f"{job}.json", _MOST_BYTES)
        if content is not None:
            return self._state(job, content)
        if job not in self._absent:
            if len(self._absent) >= _MOST_ABSENT:
                self._absent.clear()
            self._absent.add(job)
            if self._files.size(f"{job}.json") is not None:
                self._warn(job)
        return RUNNING

    def read_all(self, jobs: Iterable[str]) -> Iterator[tuple[str, JobState]]:
        """The jobs with their states."""
        jobs = list(jobs)
        contents = self._files.get_jsons([f"{job}.json" for job in jobs], _MOST_BYTES)
        for job, content in zip(jobs, contents, strict=True):
            yield job, RUNNING if content is None else self._state(job, content)

    def write(self, job: str, state: JobState) -> None:
        self._files.put_json(f"{job}.json", state.model_dump(mode="json"))

    def _state(self, job: str, content: Any) -> JobState:
        try:
            return JobState.model_validate(content)
        except ValidationError:
            self._warn(job)
            return RUNNING

    def _warn(self, job: str) -> None:
        place = f"{self._files.path}/{job}.json"
        legal = "running, paused or cancelled"
        cure = f"chunkflow-producer pause, resume or cancel --job {job} writes it anew"
        warn_once(log, f"{place} is not the state of a job ({legal}): taken as running; {cure}")
