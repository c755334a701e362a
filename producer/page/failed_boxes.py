"""`FailedBoxes`: what the records of failed boxes say, grouped by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.cause import ERROR_LENGTH, cause_of
from chunkflow_worker.report.scrub import scrub
from producer.look.failures import redrive_command, reproduce_command

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record

MOST_FAILED = 2000
"""Failed boxes of a job whose records are read."""

_GROUPS, _BOXES = 20, 12  # that are sent; of a group


@dataclass(frozen=True)
class _Failed:
    cause: str
    error: str
    attempts: int
    final: bool
    seconds: float


def _failed(record: Record) -> _Failed:
    error = record.error[:ERROR_LENGTH]
    return _Failed(cause_of(error), error, record.attempts, record.final, record.seconds)


class FailedBoxes:
    """Reads records of failed boxes: those first that were never read, or longest ago.

    final: the places of those boxes that are given up, as far as they were read.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._known: dict[str, _Failed | None] = {}  # the one that was read last comes last

    def read_some(self, names: list[str], most: int) -> None:
        """names: of the boxes that failed now. Raises StorageUnavailable."""
        now = frozenset(names)
        self._known = {name: one for name, one in self._known.items() if name in now}
        unknown = [name for name in names if name not in self._known]
        due = [*unknown, *self._known][:most]
        found = {record.bbox: record for record in self._ledger.records(due, failed=True)}
        for name in due:
            self._known.pop(name, None)
            record = found.get(name)
            self._known[name] = _failed(record) if record else None

    @property
    def final(self) -> list[str]:
        """The boxes that are given up."""
        return [name for name, one in self._known.items() if one and one.final]

    @property
    def read(self) -> int:
        return len(self._known)

    def lost_seconds(self, mean: float) -> float:
        """Of all their attempts. mean: of a task, for those before the last one."""
        failed = [one for one in self._known.values() if one]
        return sum(one.seconds + max(0, one.attempts - 1) * mean for one in failed)

    def groups(
        self, queue: str, pipeline: Path | None, ledger: str | None, stage: str
    ) -> list[dict[str, Any]]:
        """The most frequent causes first, as they are sent."""
        groups: dict[str, list[str]] = {}
        for name, one in self._known.items():
            if one:
                groups.setdefault(one.cause, []).append(name)
        frequent = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
        return [
            self._group(cause, sorted(names), pipeline)
            | {"redrive": redrive_command(cause, queue, pipeline, ledger, stage) if queue else ""}
            for cause, names in frequent[:_GROUPS]
        ]

    def _group(self, cause: str, names: list[str], pipeline: Path | None) -> dict[str, Any]:
        failures = [one for name in names if (one := self._known[name])]
        return {
            "cause": scrub(cause),
            "count": len(names),
            "dead": sum(one.final for one in failures),
            "attempts": max(one.attempts for one in failures),
            "boxes": names[:_BOXES],
            "error": scrub(failures[0].error),
            "reproduce": reproduce_command(names[0], pipeline),
        }
