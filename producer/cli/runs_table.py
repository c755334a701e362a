"""Runs of a job on paper as a table, for ``simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.say import say
from producer.simulate.notes import mean

if TYPE_CHECKING:
    from producer.simulate.assumptions import Assumptions
    from producer.simulate.cost import Cost
    from producer.simulate.result import Result

_HEAD = ["workers", "lost/hour", "time", "machine-hours", "work lost", "waste", "machines lost"]
_HEAD += ["dead", "in flight", "empty polls"]


def show_runs(assumed: Assumptions, rows: Sequence[Result], costs: Sequence[Cost | None]) -> None:
    """Print a row for each run. costs: None for all of them where no machine was given."""
    say(
        f"{assumed.tasks} tasks of {mean(rows):.1f} s, {assumed.in_flight} places a worker, "
        f"machines ready after {assumed.startup_seconds:g} s, replaced after "
        f"{assumed.replacement_seconds:g} s"
    )
    lines = [_HEAD + ["dollars"] * any(costs)]
    lines += [_line(row, cost) for row, cost in zip(rows, costs, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _line(row: Result, cost: Cost | None) -> list[str]:
    return [
        str(row.workers),
        f"{row.interruptions:.4g}",
        duration_text(row.makespan_seconds),
        _short(row.machine_hours),
        f"{row.lost:.2%}",
        f"{row.waste:.1%}",
        str(row.interrupted),
        str(row.dead),
        str(row.peak_in_flight),
        str(row.empty_polls),
        *([_short(cost.total)] if cost else []),
    ]


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 100 else f"{number:.0f}"
