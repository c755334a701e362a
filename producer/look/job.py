"""The job that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger


def choose_job(ledger: Ledger, name: str | None) -> JobRecord | None:
    """The job of that name, or the latest of the ledger, if it has any. Raises ConfigError when it lacks the name."""
    jobs = ledger.jobs()
    if name is None:
        return jobs[-1] if jobs else None
    for job in jobs:
        if job.job == name:
            return job
    known = ", ".join(job.job for job in jobs[-10:]) or "none"
    raise ConfigError.one("job", name, f"is not in the ledger {ledger.path}", f"known: {known}")


def find_job(ledger: Ledger, name: str | None) -> JobRecord:
    """As `choose_job`. Raises ConfigError, too, when the ledger has no job."""
    job = choose_job(ledger, name)
    if job is None:
        raise ConfigError.one(
            "ledger",
            ledger.path,
            "knows no job",
            "is this the ledger that the job was enqueued with?",
        )
    return job
