"""`job_rows`: all jobs of a ledger, and how far each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError
from producer.look.job import boxes_of_job

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger, Listing


@dataclass(frozen=True)
class JobRow:
    """One job.

    state: running, paused or cancelled, or done when all its boxes are.
    why: the reason of a pause or a cancellation; empty when there is none.
    done, failed: boxes, as in `JobStatus`; None when this version can't read the job's boxes.
    enqueued: when its last part was sent, in ISO 8601.
    """

    job: str
    state: str
    done: int | None
    total: int
    failed: int | None
    queue: str
    enqueued: str
    why: str = ""


def job_rows(ledger: Ledger) -> list[JobRow]:
    """All jobs of a ledger, the oldest first. Raises StorageUnavailable."""
    jobs = ledger.jobs()
    states = dict(ledger.states.read_all(job.job for job in jobs))
    listing = ledger.listing()
    rows = []
    for job in jobs:
        state, counts = states[job.job], _counts(job, listing)
        is_done = counts[0] is not None and counts[0] >= job.tasks
        text = "done" if is_done and state.state == "running" else state.state
        why = "" if state.state == "running" else state.why
        rows.append(
            JobRow(job.job, text, counts[0], job.tasks, counts[1], job.queue, job.enqueued, why)
        )
    return rows


def _counts(job: JobRecord, listing: Listing) -> tuple[int | None, int | None]:
    """How many of its boxes are done, and how many failed; None when they can't be read."""
    try:
        boxes = job.boxes()
    except ConfigError:
        return None, None
    return len(boxes_of_job(boxes, listing.done)), len(boxes_of_job(boxes, listing.failed))
