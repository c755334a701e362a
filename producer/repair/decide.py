"""`decide`: pauses, resumes or cancels a job."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.job.failing import FailingBoxes
from chunkflow_worker.job.state import JobState, State
from producer.look.job import require_job

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger


@dataclass(frozen=True)
class Decided:
    """A job, and its state before and after `decide`."""

    job: JobRecord
    before: JobState
    after: JobState


def decide(
    ledger: Ledger, name: str | None, state: State, why: str = "", queue: str | None = None
) -> Decided:
    """Write the state of a job. Nothing is written if it is in this state already.

    name: of the job; None for the latest. queue: which the job must have; None for any.
    Raises ConfigError when there is no such job, when it has no queue, or when it is cancelled and
    to be paused, and StorageUnavailable.
    """
    job = require_job(ledger, name)
    if queue is not None and queue != job.queue:
        problem = f"has queue {job.queue}, and not {queue}"
        raise ConfigError.one("job", job.job, problem, "give --job, or another --queue")
    if not job.queue:
        problem = "ran without a queue: no worker would heed this"
        raise ConfigError.one("job", job.job, problem, "stop its processes instead, with SIGTERM")
    before = ledger.states.read(job.job)
    if before.state == state:
        return Decided(job, before, before)
    if (before.state, state) == ("cancelled", "paused"):
        cure = f"chunkflow-producer resume --job {job.job} ends that"
        raise ConfigError.one("job", job.job, "is cancelled, so there is nothing to pause", cure)
    after = JobState.now(state, _user(), why)
    ledger.states.write(job.job, after)
    if state != "paused":
        with suppress(StorageUnavailable):  # no worker counts these any more
            FailingBoxes(ledger.path).forget(job.job, after)
    return Decided(job, before, after)


def _user() -> str:
    """The user and the machine, for the state."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        name = "somebody"
    return f"{name} on {socket.gethostname()}"
