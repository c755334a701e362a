"""The log: who writes to it, and a subscriber that writes what happens to tasks."""

from __future__ import annotations

import logging

from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)
from chunkflow_worker.report.quiet import quiet_libraries

log = logging.getLogger("chunkflow_worker.tasks")


def set_up_log(level: str, libraries: str, format: str) -> None:
    """Log to stderr: what this package says from `level` on, and all libraries from theirs on.

    The debug lines of libraries would bury ours: libraries say them of each file and request.
    """
    logging.basicConfig(level=libraries, format=format)
    quiet_libraries()
    if level != libraries:
        logging.getLogger("chunkflow_worker").setLevel(level)


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
