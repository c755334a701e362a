"""The log: who writes to it, what it hides, and a subscriber that writes what happens to tasks."""

from __future__ import annotations

import logging
import re

from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    TaskDropped,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)
from chunkflow_worker.report.plain import plain
from chunkflow_worker.report.quiet import quiet_libraries
from chunkflow_worker.report.scrub import scrub

log = logging.getLogger("chunkflow_worker.tasks")
_NEW_LINE = re.compile(r"\n(?=\S)")


def set_up_log(level: str, libraries: str, format: str) -> None:
    """Log to stderr: what this package says from `level` on, and all libraries from theirs on.

    The debug lines of libraries would bury ours: libraries say them of each file and request.
    """
    logging.basicConfig(level=libraries, format=format)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_SAFE)
    quiet_libraries()
    if level != libraries:
        logging.getLogger("chunkflow_worker").setLevel(level)


class SafeFilter(logging.Filter):
    """A filter for log handlers: no credentials, no control characters, and no forged lines.

    The further lines of a message and of a traceback are indented, so that none looks like the
    first line of another message.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _safe(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = _safe(record.exc_text)
        return True


_SAFE = SafeFilter()


def _safe(text: str) -> str:
    return _NEW_LINE.sub("\n    ", plain(scrub(text)))


def log_events(event: Event) -> None:
    """Write one line per event."""
    match event:
        case TaskStarted():
            log.info("started %s of job %s, attempt %d", event.bbox, event.job, event.attempt)
        case OperatorFinished():
            log.debug("%s took %.2f s on %s", event.name, event.seconds, event.bbox or "the task")
        case TaskFinished():
            steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in event.operators.items())
            log.info("%s %s in %.2f s (%s)", event.state, event.bbox, event.seconds, steps)
        case TaskFailed():
            fate = "no further attempt" if event.final else "it will be retried"
            log.error("failed %s, attempt %d, %s: %s", event.bbox, event.attempt, fate, event.error)
        case TaskDropped():
            log.debug("dropped %s of job %s, which is cancelled", event.bbox, event.job)
