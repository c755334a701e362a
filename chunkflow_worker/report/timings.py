"""Tables of seconds and speed by operator, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

from chunkflow_worker.report.plain import one_line

_WHOLE = "whole task"
_FILE_WIDTH = 120  # columns of a table that does not go to a terminal


@dataclass(frozen=True)
class Timing:
    """The times of one task.

    timer: seconds by name of the operator.
    voxels: of the task's output; 0 when not known.
    """

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

    def cells(self, all_seconds: float) -> list[str]:
        total = sum(self.seconds)
        figures = (total, fmean(self.seconds), median(self.seconds))
        share = f"{total / all_seconds:.0%}" if all_seconds else ""
        speed = ""
        if self.voxel_seconds > 0:
            speed = f"{self.voxels / 1e6 / self.voxel_seconds:.3g}"
        return [str(len(self.seconds)), *(f"{n:.2f}" for n in figures), share, speed]


def print_timings(
    tasks: Iterable[Timing], title: str | None = None, *, stderr: bool = False
) -> None:
    """Print a table with a row for each operator and one for whole tasks.

    Its columns are the number of tasks, their seconds (total, mean, median), the share of all
    seconds, and Mvoxel/s while the operator ran. Tasks may come from different chains: the figures
    of an operator cover the tasks that ran it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows: dict[str, _Row] = {}
    whole = _Row()
    for task in tasks:
        for name, seconds in task.timer.items():
            rows.setdefault(name, _Row()).add(seconds, task.voxels)
        whole.add(sum(task.timer.values()), task.voxels)
    heading = None if title is None else Text(one_line(title))
    table = Table(box=None, pad_edge=False, title=heading, title_justify="left", title_style="bold")
    table.add_column("operator")
    for column in ("tasks", "seconds", "mean", "median", "share", "Mvoxel/s"):
        table.add_column(column, justify="right")
    if whole.seconds:
        all_seconds = sum(whole.seconds)
        for name, row in {**rows, _WHOLE: whole}.items():
            table.add_row(Text(one_line(name)), *row.cells(all_seconds))
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(table)
