"""`Outage`: says once in the log that a service is away, and once that it is back."""

from __future__ import annotations

import logging
import threading
from time import monotonic

log = logging.getLogger(__name__)


class Outage:
    """Of one service; may be told from several threads. `what` names it in the log."""

    def __init__(self, what: str):
        self._what = what
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        return self._since is not None

    def failed(self, error: object) -> None:
        with self._lock:
            begins = self._since is None
            if begins:
                self._since = monotonic()
        if begins:
            log.warning(
                "%s does not answer, trying on: %s: %s", self._what, type(error).__name__, error
            )

    def answered(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("%s answers again, after %.0f s", self._what, monotonic() - since)
