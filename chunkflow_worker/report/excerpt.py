"""The log lines and the traceback that the record of a failure keeps."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from chunkflow_worker.errors import ChunkflowError

LINES = 20  # that are kept of the log, and of a traceback
_LINE_LENGTH = 500  # characters that are kept of a line


class _LineKeeper(logging.Handler):
    """Keeps the last lines that the thread which made it logs."""

    def __init__(self, lines: deque[str]):
        super().__init__()
        self._thread, self._lines = threading.get_ident(), lines
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            lines = self.format(record).splitlines()
            self._lines.extend(line[:_LINE_LENGTH] for line in lines)


@contextmanager
def log_excerpt() -> Iterator[deque[str]]:
    """Yields the last lines that this thread logs; they grow until the block ends."""
    lines: deque[str] = deque(maxlen=LINES)
    keeper, root = _LineKeeper(lines), logging.getLogger()
    root.addHandler(keeper)
    try:
        yield lines
    finally:
        root.removeHandler(keeper)


def traceback_lines(error: BaseException) -> list[str]:
    """The last lines of the traceback of an unexpected error.

    Empty for an error that this package raises on purpose, unless an unexpected one caused it.
    """
    cause: BaseException = error
    while isinstance(cause, ChunkflowError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ChunkflowError):
        return []
    text = "".join(traceback.format_exception(cause, chain=False))
    return [line[:_LINE_LENGTH] for line in text.splitlines()][-LINES:]
