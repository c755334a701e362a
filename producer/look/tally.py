"""`Tally`: how much of a job `verify` looked at, and what it compared."""

from __future__ import annotations

from threading import Lock

COMPARED = "blocks read and compared"
FILLED = "blocks that are absent and read as their task wrote them: as the fill value"
EMPTY = "blocks absent or zero, as they must be"
FOUND = "blocks as old as their task says"
FILES_COMPARED = "files read and compared"
FILES_FOUND = "files of the size and time that their task says"
FILES_NOT_CHECKED = "files that are not checked"
NO_FILES = "names of which there are no files but those of the task, as it must be"
BY_WORKERS_CLOCK = "blocks no older than their task, by the worker's clock"


class Tally:
    """Counts what was looked at, by what was compared. Several threads may add to it.

    Of what is only looked at and not read, it counts what is right.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = Lock()

    def add(self, what: str, count: int = 1) -> None:
        with self._lock:
            self._counts[what] = self._counts.get(what, 0) + count

    def counts(self) -> dict[str, int]:
        """The numbers above 0, in alphabetical order of what they count."""
        return {what: count for what, count in sorted(self._counts.items()) if count}
