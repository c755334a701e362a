"""`Operators`: seconds of each operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.figures.quantiles import Quantiles

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

_MOST = 200  # operators; a chain has fewer, but a record may name anything


@dataclass(frozen=True)
class Operator:
    """Seconds of an operator, in all tasks and in one. share: of the time of all operators."""

    name: str
    tasks: int
    seconds: float
    share: float
    median: float
    p95: float


class Operators:
    """Adds up the times of operators."""

    def __init__(self) -> None:
        self._times: dict[str, Quantiles] = {}

    def add(self, record: Record) -> None:
        for name, seconds in record.timer.items():
            if name in self._times or len(self._times) < _MOST:
                self._times.setdefault(name, Quantiles()).add(seconds)

    def found(self) -> tuple[Operator, ...]:
        """The operators, that which took most at first."""
        total = sum(times.total for times in self._times.values())
        by_time = sorted(self._times.items(), key=lambda one: (-one[1].total, one[0]))
        return tuple(
            Operator(
                name,
                times.count,
                times.total,
                times.total / total if total else 0.0,
                times.median,
                times.at(0.95),
            )
            for name, times in by_time
        )
