"""`Patience`: what a worker does with its tasks while storage is away."""

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
    """Waits out an outage of storage, so that it costs the tasks that it hits no attempt.

    A task that fails since storage does not answer says nothing of its box, and in an outage of minutes it would spend all
    its attempts. So the worker then asks storage by what belongs to no box: it writes a small object beside the records,
    and reads the info file of each volume of the chain.

    Storage does not answer that either: it is an outage. The task stays under its lease and keeps its place in the worker,
        so that no further tasks are taken only to fail, and is tried again when storage answers. After `hold_seconds` it goes
        back to the queue as if the worker were stopped, at no cost: other workers may reach what this one can't.
    Storage answers: the task is tried again at once, in case the outage has just ended. If that fails, too, the box is the
        cause, and it costs an attempt: such a box ends in the dead letters, however many outages there are meanwhile.

    A full or read-only disk is an outage whatever that answer is, since small objects may still fit or lie elsewhere.
    """

    def __init__(self, ledger: str, volumes: Iterable[str], hold_seconds: float = _HOLD_SECONDS):
        self._ledger, self._note = Files(ledger), f".{uuid.uuid4().hex}.probe"
        self._volumes = [Files(path) for path in dict.fromkeys(volumes)]
        self._hold_seconds = hold_seconds
        self._outage = Outage("storage")
        self._asking = threading.Lock()
        self._answered = threading.Condition()
        self._answered_at = 0.0

    def outlast(self, work: Callable[[], _Result], waits: Callable[[], None]) -> _Result:
        """Do the work, again after an outage. waits: called every moment while the work waits; raises when it must end.

        Raises StorageOutage when storage was away for `hold_seconds`, StorageUnavailable when the work alone is at fault.
        """
        first, pause, answers = 0.0, _FIRST_PAUSE, False
        while True:
            try:
                result = work()
            except StorageUnavailable as error:
                now = monotonic()
                first = first or now
                away: StorageUnavailable | None = (
                    error if isinstance(error, StorageFull) else self._ask(now)
                )
                if away is None and answers:
                    raise
                answers = away is None
                while away is not None:
                    self._outage.failed(error)
                    if monotonic() - first >= self._hold_seconds:
                        raise StorageOutage(str(error)) from error
                    self._wait(pause, now, waits)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
                    away = None if isinstance(error, StorageFull) else self._ask(now)
            else:
                self._tell_answer()
                return result

    def _ask(self, since: float) -> StorageUnavailable | None:
        """None when storage answers now, or has answered another task since then."""
        with self._asking:
            if self._answered_at > since:
                return None
            try:
                self._ledger.put_json(self._note, {})
                self._ledger.delete(self._note)
                for volume in self._volumes:
                    volume.get_json("info")
            except StorageUnavailable as error:
                return error
        self._tell_answer()
        return None

    def _tell_answer(self) -> None:
        self._outage.answered()
        with self._answered:
            self._answered_at = monotonic()
            self._answered.notify_all()

    def _wait(self, seconds: float, since: float, waits: Callable[[], None]) -> None:
        """Until storage has answered another task, at most that long."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and self._answered_at <= since:
            waits()
            with self._answered:
                self._answered.wait(min(left, _CHECK_SECONDS))
        waits()
