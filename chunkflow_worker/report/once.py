"""`warn_once`: a warning that many boxes cause, and that a process gives once."""

from __future__ import annotations

import logging
from threading import Lock

_given: set[str] = set()
_lock = Lock()


def warn_once(log: logging.Logger, text: str, about: str = "") -> None:
    """Log a warning, unless this process gave the same one before. Threads may share it.

    about: the warnings of one such text count as the same; by default, those of one `text` do.
    """
    with _lock:
        is_new = (about or text) not in _given
        _given.add(about or text)
    if is_new:
        log.warning("%s", text)


def forget_warnings() -> None:
    """Let all warnings be given again; for tests."""
    with _lock:
        _given.clear()
