"""What a worker's log said while a task ran, for the record of its failure."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from chunkflow_worker.errors import ChunkflowError

LINES = 20  # kept of the log, and of a traceback
_LENGTH = 500  # characters kept of a line


class _Keep(logging.Handler):
    """Keeps the last lines that one thread logs."""

    def __init__(self, lines: deque[str]):
        super().__init__()
        self._thread, self._lines = threading.get_ident(), lines
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.extend(line[:_LENGTH] for line in self.format(record).splitlines())


@contextmanager
def log_excerpt() -> Iterator[deque[str]]:
    """Yields the last lines that this thread logs until the block ends."""
    lines: deque[str] = deque(maxlen=LINES)
    keep, root = _Keep(lines), logging.getLogger()
    root.addHandler(keep)
    try:
        yield lines
    finally:
        root.removeHandler(keep)


def traceback_lines(error: BaseException) -> list[str]:
    """Where an error came from, when it was not raised on purpose; else nothing."""
    cause: BaseException = error
    while isinstance(cause, ChunkflowError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ChunkflowError):
        return []
    text = "".join(traceback.format_exception(cause, chain=False))
    return [line[:_LENGTH] for line in text.splitlines()][-LINES:]
