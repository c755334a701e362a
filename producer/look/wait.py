"""`wait_for`: waits until nothing more happens to a job, for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Literal

from producer.look.status import JobStatus

Outcome = Literal["done", "failed", "stopped", "timeout"]


def wait_for(
    statuses: Iterator[JobStatus],
    all_are_final: Callable[[], bool],
    timeout_seconds: float | None = None,
    clock: Callable[[], float] = monotonic,
) -> tuple[Outcome, JobStatus]:
    """Follow a job until it has ended; returns how, and its last status.

    statuses: of `watch`. all_are_final: of the `StatusPoll` that made the last of them.
    done: all boxes are. failed: the others will not be, since they are dead letters or have no
    message. stopped: the job is paused or cancelled. timeout: none of these in so many seconds.
    Raises what these two raise.
    """
    began = clock()
    for last in statuses:
        if last.complete:
            return "done", last
        if last.state != "running":
            return "stopped", last
        if last.missing == 0 and all_are_final():
            return "failed", last
        if timeout_seconds is not None and clock() - began >= timeout_seconds:
            return "timeout", last
    return "failed", last
