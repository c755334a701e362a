"""Finds a job in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger


def find_job(ledger: Ledger, name: str | None) -> JobRecord | None:
    """The job with this name, or the latest job when `name` is None; None for an empty ledger.

    Raises ConfigError when the ledger has no job with this name, and StorageUnavailable.
    """
    if name is not None and (job := ledger.job(name)) is not None:
        return job
    jobs = ledger.jobs()
    if name is None:
        return jobs[-1] if jobs else None
    known = ", ".join(job.job for job in jobs[-10:]) or "none"
    raise ConfigError.one("job", name, f"is not in the ledger {ledger.path}", f"known: {known}")


def require_job(ledger: Ledger, name: str | None) -> JobRecord:
    """Like `find_job`, but also raises ConfigError for an empty ledger."""
    job = find_job(ledger, name)
    if job is None:
        raise no_job(ledger)
    return job


def no_job(ledger: Ledger) -> ConfigError:
    """The error for a ledger that must have a job and has none."""
    return ConfigError.one(
        "ledger", ledger.path, "has no job", "give the ledger that the job was enqueued with"
    )


def some_are_done(ledger: Ledger, boxes: Boxes, sample: int = 20) -> bool:
    """True when the ledger has a box of the job as done. Looks at some boxes, spread over the job.

    Raises StorageUnavailable.
    """
    indices = sorted({len(boxes) * i // sample for i in range(sample)})
    return any(True for _ in ledger.records(str(boxes[i]) for i in indices))
