"""Notes that all output of a job was read back and was right, in the ledger of a stage.

    <ledger>/jobs/<job>.verified

They go when a box is to be done again, or when another job is sent that may do it.
"""

from __future__ import annotations

from typing import Any

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.storage.files import Files

_SUFFIX, _MOST_BYTES = ".verified", 10_000


def note_verified(ledger: Ledger, job: JobRecord) -> None:
    """Raises StorageUnavailable."""
    _jobs(ledger).put_json(f"{job.job}{_SUFFIX}", _note(job))


def is_verified(ledger: Ledger, job: JobRecord) -> bool:
    """Raises StorageUnavailable."""
    return bool(_jobs(ledger).get_json(f"{job.job}{_SUFFIX}", _MOST_BYTES) == _note(job))


def forget_verified(ledger: Ledger) -> None:
    """Remove the notes of all jobs of a ledger. Raises StorageUnavailable."""
    jobs = _jobs(ledger)
    jobs.delete_all([name for name in jobs.list() if name.endswith(_SUFFIX)])


def _jobs(ledger: Ledger) -> Files:
    return Files(f"{ledger.path}/jobs")


def _note(job: JobRecord) -> dict[str, Any]:
    return {"pipeline": job.pipeline, "tasks": job.tasks, "enqueued": job.enqueued}
