"""`Ending`: whether a job that is not complete has failed, since no attempt is left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from producer.look.status import JobStatus


class Ending:
    """Looks at one status of a job after the other.

    It has failed when no box is left to be tried: each is done or given up, and the queue holds no
    message, at two looks. Where the queue has messages of other jobs, or boxes are without record,
    that must look so for `settle_seconds`, since SQS counts only approximately, and dead letters
    may just have been sent back.

    all_are_final: of the `StatusPoll` that made the statuses.
    """

    def __init__(
        self,
        all_are_final: Callable[[], bool],
        settle_seconds: float,
        clock: Callable[[], float] = monotonic,
    ):
        self._all_are_final, self._settle, self._clock = all_are_final, settle_seconds, clock
        self._since: float | None = None
        self._was_certain = False

    def has_failed(self, status: JobStatus) -> bool:
        """Raises StorageUnavailable."""
        given_up = status.missing == 0 and status.failed > 0 and self._all_are_final()
        is_certain = status.idle and given_up
        looks_so = status.idle or (given_up and status.dead >= status.failed)
        if not looks_so:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        was_certain, self._was_certain = self._was_certain, is_certain
        if is_certain and was_certain:
            return True
        return self._since is not None and self._clock() - self._since >= self._settle
