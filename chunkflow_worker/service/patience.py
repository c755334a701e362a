"""`Patience`: what a worker does with its tasks while storage does not answer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from chunkflow_worker.errors import StorageFull, StorageOutage, StorageUnavailable
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.storage.files import Files

_FIRST_PAUSE, _LONGEST_PAUSE, _HOLD_SECONDS = 2.0, 30.0, 600.0
_CHECK_SECONDS = 0.5
_Result = TypeVar("_Result")


class Patience:
    """Waits out an outage of storage, so that the outage costs tasks no attempt.

    When a task fails because storage does not answer, its box may not be the cause; and in an
    outage of minutes, it would use up all its attempts. So the worker probes storage with objects
    that belong to no box: it writes a small object beside the records, and reads the info file of
    each volume of the chain.

    - The probe fails: this is an outage. The task keeps its lease and its place in the worker, so
      that no other task is taken only to fail. It is retried when storage answers. After
      `hold_seconds` it goes back to the queue at no cost, as if the worker were stopped: other
      workers may reach storage.
    - The probe succeeds: the task is retried at once, in case the outage has just ended. If it
      fails again, its box is the cause, and this costs an attempt. So such a box ends in the
      dead-letter queue, however many outages there are meanwhile.

    A full or read-only disk always counts as an outage, since the small object may still fit.
    """

    def __init__(self, ledger: str, volumes: Iterable[str], hold_seconds: float = _HOLD_SECONDS):
        self._ledger, self._note = Files(ledger), f".{uuid.uuid4().hex}.probe"
        self._volumes = [Files(path) for path in dict.fromkeys(volumes)]
        self._hold_seconds = hold_seconds
        self._outage = Outage("storage")
        self._probing = threading.Lock()
        self._answered = threading.Condition()
        self._answered_at = 0.0

    def outlast(self, work: Callable[[], _Result], check_waiting: Callable[[], None]) -> _Result:
        """Do the work, and retry it after an outage.

        check_waiting: called every moment while the work waits; raises when it must end.
        Raises StorageOutage when storage did not answer for `hold_seconds`, StorageUnavailable when
        only this work fails.
        """
        first, pause, answers = 0.0, _FIRST_PAUSE, False
        while True:
            try:
                result = work()
            except StorageUnavailable as error:
                now = monotonic()
                first = first or now
                away: StorageUnavailable | None = (
                    error if isinstance(error, StorageFull) else self._probe(now)
                )
                if away is None and answers:
                    raise
                answers = away is None
                while away is not None:
                    self._outage.failed(error)
                    if monotonic() - first >= self._hold_seconds:
                        raise StorageOutage(str(error)) from error
                    self._wait(pause, now, check_waiting)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
                    away = None if isinstance(error, StorageFull) else self._probe(now)
            else:
                self._note_answer()
                return result

    def _probe(self, since: float) -> StorageUnavailable | None:
        """The error of the probe; None when storage answers, or has answered another task."""
        with self._probing:
            if self._answered_at > since:
                return None
            try:
                self._ledger.put_json(self._note, {})
                self._ledger.delete(self._note)
                for volume in self._volumes:
                    volume.get_json("info")
            except StorageUnavailable as error:
                return error
        self._note_answer()
        return None

    def _note_answer(self) -> None:
        self._outage.answered()
        with self._answered:
            self._answered_at = monotonic()
            self._answered.notify_all()

    def _wait(self, seconds: float, since: float, check_waiting: Callable[[], None]) -> None:
        """Wait until storage has answered another task, but at most so many seconds."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and self._answered_at <= since:
            check_waiting()
            with self._answered:
                self._answered.wait(min(left, _CHECK_SECONDS))
        check_waiting()
