"""`Patience`: what a worker does with its tasks while storage does not answer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from chunkflow_worker.errors import (
    StorageFull,
    StorageOutage,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.report.unavailable import is_overload
from chunkflow_worker.storage.files import Files

_FIRST_PAUSE, _LONGEST_PAUSE, _HOLD_SECONDS = 2.0, 30.0, 600.0
_CHECK_SECONDS = 0.5
_Result = TypeVar("_Result")


class Patience:
    """Waits out an outage of storage, so that the outage costs tasks no attempt.

    When a task fails because storage does not answer, its box may not be the cause; and in an
    outage of minutes, it would use up all its attempts. So in an outage, the task keeps its lease
    and its place in the worker, so that no other task is taken only to fail, and is tried again.
    After `hold_seconds` it goes back to the queue at no cost, as if the worker were stopped: other
    workers may reach storage. What an outage is:

    - Storage says so itself: it is overloaded (SlowDown, 429, 503), failed (500) or did not answer.
      That may concern some objects alone, since S3 throttles by prefix. If other boxes were done
      during the whole of `hold_seconds`, this box is the cause, and that costs it an attempt.
    - Storage refuses the credentials or the action, and no other box is done meanwhile.
    - The disk is full or read-only.
    - After any other error, the worker probes storage with objects that belong to no box: it writes
      a small object beside the records, and asks for an object below each path of the chain. If
      that fails, too, it is an outage. Otherwise the task is retried at once, in case an outage has
      just ended; if it fails again, its box is the cause, and this costs an attempt.

    So a box that can't be done ends in the dead-letter queue, however many outages there are.
    """

    def __init__(
        self,
        ledger: str,
        addresses: Iterable[str],
        hold_seconds: float = _HOLD_SECONDS,
    ):
        """addresses: of the volumes and folders that the chain works on."""
        self._ledger, self._note = Files(ledger), f".{uuid.uuid4().hex}.probe"
        self._places = [Files(path) for path in dict.fromkeys(addresses)]
        self._hold_seconds = hold_seconds
        self._outage = Outage("storage")
        self._probing = threading.Lock()
        self._state = threading.Condition()
        self._failing = 0  # works that have failed, and have not ended since
        self._answered_at = self._box_done_at = 0.0

    def outlast(
        self,
        work: Callable[[], _Result],
        check_waiting: Callable[[], None],
        *,
        does_box: bool = False,
    ) -> _Result:
        """Do the work, and retry it after an outage.

        check_waiting: called every moment while the work waits; raises when it must end.
        does_box: the work is that on a whole box.
        Raises StorageOutage when storage did not answer for `hold_seconds`, StorageUnavailable when
        only this work fails.
        """
        shows_all = does_box  # that storage answers: the ledger may, and volumes not
        try:
            result = work()
        except StorageUnavailable as error:
            result = self._retry(error, work, check_waiting)
            shows_all = True
        with self._state:
            self._answered_at = monotonic()
            if does_box:
                self._box_done_at = self._answered_at
            is_over = shows_all and self._failing == 0
            self._state.notify_all()
        if is_over:
            self._outage.answered()
        return result

    def _retry(
        self,
        error: StorageUnavailable,
        work: Callable[[], _Result],
        check_waiting: Callable[[], None],
    ) -> _Result:
        first, pause, answers = monotonic(), _FIRST_PAUSE, False
        with self._state:
            self._failing += 1
        try:
            while True:
                now = monotonic()
                away = self._outage_of(error, now)
                if away is None and answers:
                    raise error
                answers = away is None
                while away is not None:
                    self._outage.failed(error)
                    is_over = monotonic() - first >= self._hold_seconds
                    if self._box_done_at > first and _is_of_one_box(error, is_over):
                        raise error
                    if is_over:
                        raise StorageOutage(str(error)) from error
                    self._wait(pause, None if _says_so(error) else now, check_waiting)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
                    away = None if _says_so(error) else self._probe(now)
                try:
                    return work()
                except StorageUnavailable as failure:
                    error = failure
        finally:
            with self._state:
                self._failing -= 1

    def _outage_of(self, error: StorageUnavailable, now: float) -> StorageUnavailable | None:
        """The error that shows an outage; None if storage answers, and the work is the cause."""
        return error if _says_so(error) else self._probe(now)

    def _probe(self, since: float) -> StorageUnavailable | None:
        """The error of the probe; None when storage answers, or has answered another task."""
        with self._probing:
            if self._answered_at > since:
                return None
            try:
                self._ledger.put_json(self._note, {})
                self._ledger.delete(self._note)
                for place in self._places:
                    with suppress(StorageRefused):  # S3 does not tell everybody what is absent
                        place.get("info")
            except StorageUnavailable as error:
                return error
        with self._state:
            self._answered_at = monotonic()
            self._state.notify_all()
        return None

    def _wait(self, seconds: float, since: float | None, check_waiting: Callable[[], None]) -> None:
        """Wait so many seconds, but only until storage has answered another task after `since`."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            if since is not None and self._answered_at > since:
                break
            check_waiting()
            with self._state:
                self._state.wait(min(left, _CHECK_SECONDS))
        check_waiting()


def _says_so(error: StorageUnavailable) -> bool:
    """Whether the error itself shows that this may be an outage, and not the fault of one box."""
    return isinstance(error, StorageFull | StorageRefused) or is_overload(error)


def _is_of_one_box(error: StorageUnavailable, is_over: bool) -> bool:
    """Whether the box is the cause, given that another was done meanwhile.

    Throttling lets some requests through, so that shows nothing until the wait is over.
    """
    return isinstance(error, StorageRefused) or (is_over and is_overload(error))
