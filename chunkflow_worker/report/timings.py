"""Tables of what tasks took, operator by operator, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

_WHOLE = "whole task"


@dataclass(frozen=True)
class Timing:
    """What a task took. timer: seconds by operator. voxels: of its output; 0 when not known."""

    timer: Mapping[str, float]
    voxels: int = 0


@dataclass
class _Row:
    seconds: list[float] = field(default_factory=list)
    voxels: int = 0
    voxel_seconds: float = 0.0  # of the tasks whose voxels are known

    def add(self, seconds: float, voxels: int) -> None:
        self.seconds.append(seconds)
        if voxels:
            self.voxels += voxels
            self.voxel_seconds += seconds

    def cells(self, busy: float) -> list[str]:
        total = sum(self.seconds)
        figures = [f"{n:.2f}" for n in (total, fmean(self.seconds), median(self.seconds))]
        speed = f"{self.voxels / 1e6 / self.voxel_seconds:.3g}" if self.voxel_seconds > 0 else ""
        return [str(len(self.seconds)), *figures, f"{total / busy:.0%}" if busy else "", speed]


def print_timings(
    tasks: Iterable[Timing], title: str | None = None, *, stderr: bool = False
) -> None:
    """Print a table: each operator's tasks, seconds and Mvoxel/s while it ran, and those of whole tasks.

    Tasks may be of different chains: an operator's figures are those of the tasks that ran it.
    """
    from rich.console import Console
    from rich.table import Table

    rows: dict[str, _Row] = {}
    whole = _Row()
    for task in tasks:
        for name, seconds in task.timer.items():
            rows.setdefault(name, _Row()).add(seconds, task.voxels)
        whole.add(sum(task.timer.values()), task.voxels)
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("operator")
    for heading in ("tasks", "seconds", "mean", "median", "share", "Mvoxel/s"):
        table.add_column(heading, justify="right")
    for name, row in {**rows, _WHOLE: whole}.items() if whole.seconds else ():
        table.add_row(name, *row.cells(sum(whole.seconds)))
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file has no width to keep to
    console.print(table)
