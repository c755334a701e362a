"""`Slowest` and `Failures`: the slowest tasks, and what failed for which cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from chunkflow_worker.job.cause import cause_of

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

SHOWN = 20
_CAUSES = 100  # that are told apart
_CAUSE, _BOXES = 500, 5  # characters of a cause; boxes named for it
_OTHERS = "further causes"
_ERROR, _LINE, _LINES = 2000, 300, 12  # characters of an error and of a line; lines of a log


@dataclass(frozen=True)
class SlowTask:
    """A task that took long. operator: that took the most of it, and its seconds."""

    box: str
    seconds: float
    waited: float
    worker: str
    attempts: int
    operator: str
    operator_seconds: float


class Slowest:
    """Keeps the tasks that took longest."""

    def __init__(self, most: int = SHOWN) -> None:
        self._most = most
        self._heap: list[tuple[float, str, SlowTask]] = []

    def add(self, record: Record) -> None:
        if record.state != "done":
            return
        if len(self._heap) == self._most and record.seconds <= self._heap[0][0]:
            return
        operator, seconds = max(record.timer.items(), key=lambda one: one[1], default=("", 0.0))
        task = SlowTask(
            record.bbox,
            record.seconds,
            record.waited,
            record.worker,
            record.attempts,
            operator,
            seconds,
        )
        entry = record.seconds, record.bbox, task
        if len(self._heap) < self._most:
            heappush(self._heap, entry)
        else:
            heapreplace(self._heap, entry)

    def found(self) -> tuple[SlowTask, ...]:
        return tuple(task for *_, task in sorted(self._heap, key=lambda one: (-one[0], one[1])))


@dataclass
class FailureCause:
    """Boxes that are not done because of the same error.

    boxes: their number; examples: some of them. given_up: those without an attempt left.
    error, log, worker: of the first example.
    """

    cause: str
    boxes: int = 0
    given_up: int = 0
    examples: list[str] = field(default_factory=list)
    error: str = ""
    log: list[str] = field(default_factory=list)
    worker: str = ""


class Failures:
    """Counts failures by cause."""

    def __init__(self) -> None:
        self._causes: dict[str, FailureCause] = {}

    def add(self, record: Record) -> None:
        if record.state != "failed":
            return
        cause = cause_of(record.error)[:_CAUSE]
        if cause not in self._causes and len(self._causes) >= _CAUSES:
            cause = _OTHERS
        held = self._causes.setdefault(cause, FailureCause(cause))
        held.boxes += 1
        held.given_up += record.final
        if len(held.examples) < _BOXES:
            held.examples.append(record.bbox)
        if not held.error:
            held.error, held.worker = _cut(record.error, _ERROR), record.worker
            held.log = [_cut(line, _LINE) for line in record.log[-_LINES:]]

    def found(self) -> tuple[FailureCause, ...]:
        """The causes, that of most boxes first."""
        return tuple(sorted(self._causes.values(), key=lambda one: (-one.boxes, one.cause)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
