"""`wait_for`: waits until nothing more happens to a job, for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Literal

from producer.look.job import require_job
from producer.look.status import JobStatus
from producer.look.survey import Survey

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger

Outcome = Literal["done", "failed", "stopped", "timeout"]


def wait_for(
    statuses: Iterator[JobStatus],
    ledger: Ledger,
    timeout_seconds: float | None = None,
    clock: Callable[[], float] = monotonic,
) -> tuple[Outcome, JobStatus]:
    """Follow a job until it has ended; returns how, and its last status.

    statuses: of `watch`.
    done: all boxes are. failed: the others will not be, since they are dead letters or have no
    message. stopped: the job is paused or cancelled. timeout: none of these in so many seconds.
    Raises what `statuses` raises.
    """
    began = clock()
    for last in statuses:
        if last.complete:
            return "done", last
        if last.state != "running":
            return "stopped", last
        if last.missing == 0 and all_are_final(ledger, last):
            return "failed", last
        if timeout_seconds is not None and clock() - began >= timeout_seconds:
            return "timeout", last
    return "failed", last


def all_are_final(ledger: Ledger, status: JobStatus) -> bool:
    """Whether no other attempt follows for any box of the job that failed.

    So a job ends although the queue holds messages of others.
    """
    boxes = require_job(ledger, status.job).boxes()
    survey = Survey(ledger, boxes)
    survey.look()
    failed = list(survey.failed())
    found = list(_until_not_final(ledger, failed))
    return len(found) == len(failed) and all(found)


def _until_not_final(ledger: Ledger, boxes: list[str]) -> Iterator[bool]:
    for record in ledger.records(boxes, failed=True):
        yield record.final
        if not record.final:
            return
