"""`Outage`: one log line when a service fails, and one when it answers again."""

from __future__ import annotations

import logging
import threading
from time import monotonic

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.report.access import meaning
from chunkflow_worker.report.tally import TALLY
from chunkflow_worker.report.unavailable import is_overload

log = logging.getLogger(__name__)


class Outage:
    """The state of one service. Several threads may report to it.

    service: its name in the log.
    """

    def __init__(self, service: str):
        self._service = service
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the last report was a failure."""
        return self._since is not None

    def failed(self, error: object) -> None:
        """Report a request that failed; only the first one of an outage is logged."""
        with self._lock:
            begins = self._since is None
            if begins:
                self._since = monotonic()
        if isinstance(error, Exception) and is_overload(error):
            TALLY.add("throttles", self._service)
        if begins:
            TALLY.add("outages", self._service)
            log.warning("%s does not answer, retrying: %s", self._service, _what(error))

    def answered(self) -> None:
        """Report a request that succeeded; only the first one after an outage is logged."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("%s answers again, after %.0f s", self._service, monotonic() - since)


def _what(error: object) -> str:
    """The error in the words of this package, on one line."""
    if isinstance(error, Exception) and not isinstance(error, ChunkflowError):
        return meaning(error).problem
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())
