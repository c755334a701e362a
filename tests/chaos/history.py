"""What workers did and what a kill cost, read from their logs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.killer import Kill

_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ (?:\S+ )?"
    r"(started|done|skipped|failed) (\d+-\d+_\d+-\d+_\d+-\d+)\b"
)
_OF_JOB = re.compile(r"(started|done|skipped|failed) (\d+-\d+_\d+-\d+_\d+-\d+)(?: of job (\S+),)?")


@dataclass(frozen=True)
class Event:
    """A task started or ended.

    at: seconds since the epoch. worker: the number of its log. kind: started, done, skipped or
    failed.
    """

    at: float
    worker: int
    kind: str
    box: str

    @property
    def starts(self) -> bool:
        return self.kind == "started"


@dataclass(frozen=True)
class CutOff:
    """A task that a kill cut off.

    lost: seconds until another worker started it; None when no worker had to.
    """

    box: str
    lost: float | None


def log_file(root: Path, worker: int) -> Path:
    """Where Service.start_worker writes the log of a worker."""
    return root / f"worker-{worker}.log"


def is_ready(root: Path, worker: int) -> bool:
    """True when the worker has opened its volumes and receives tasks."""
    log = log_file(root, worker)
    return log.exists() and "tasks in flight" in log.read_text()


def history(root: Path, workers: int) -> list[Event]:
    """The events of the workers 0 to `workers` - 1, oldest first."""
    events = [event for worker in range(workers) for event in _events(root, worker)]
    return sorted(events, key=lambda event: event.at)


def cut_off(events: Sequence[Event], kill: Kill) -> Iterator[CutOff]:
    """The tasks that ran in the killed worker and did not end there.

    A task that a duplicate had finished, or that was recorded just before the kill, need not
    start again.
    """
    running: dict[str, int] = {}
    for event in events:
        if event.worker == kill.victim and (event.at <= kill.at or not event.starts):
            running[event.box] = running.get(event.box, 0) + (1 if event.starts else -1)
    later_starts = [e for e in events if e.starts and e.at > kill.at and e.worker != kill.victim]
    for box in (box for box, count in running.items() if count > 0):
        again = next((event.at for event in later_starts if event.box == box), None)
        yield CutOff(box, None if again is None else again - kill.at)


def starts(root: Path, workers: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """How often the workers 0 to `workers` - 1 started each task, and how often that was in vain.

    That is, it was cut off or failed, as where the lease ended since the machine was too busy.
    Tasks are named by job and box, since the stages of a pipeline file have the same boxes.
    """
    started, cut = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for worker in range(workers):
        running: dict[str, str] = {}
        for kind, box, job in _OF_JOB.findall(log_file(root, worker).read_text()):
            if kind == "started":
                running[box] = job
                started[job, box] += 1
                continue
            own = running.pop(box, None)
            if own is not None and kind == "failed":
                cut[own, box] += 1
        cut.update((job, box) for box, job in running.items())
    return started, cut


def _events(root: Path, worker: int) -> Iterator[Event]:
    for stamp, kind, box in _LINE.findall(log_file(root, worker).read_text()):
        at = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()
        yield Event(at, worker, kind, box)
