"""What a local run took: seconds of each operator, and voxels a second."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import click

from chunkflow_worker.progress import duration_text
from chunkflow_worker.task import Task


def show_summary(tasks: Sequence[Task], seconds: float) -> None:
    """Print a table of the operators' seconds over the tasks that ran, on stderr. seconds: of the whole run."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("operator")
    for heading in ("tasks", "seconds", "median", "share"):
        table.add_column(heading, justify="right")
    times: dict[str, list[float]] = {}
    for task in tasks:
        for name, spent in task.seconds.items():
            times.setdefault(name, []).append(spent)
    busy = sum(map(sum, times.values()))
    for name, durations in times.items():
        share = f"{sum(durations) / busy:.0%}" if busy else ""
        table.add_row(name, str(len(durations)), f"{sum(durations):.2f}", f"{median(durations):.2f}", share)
    voxels = sum(task.bbox.voxels for task in tasks if task.bbox)
    speed = f", {voxels / 1e6:.1f} Mvoxel, {voxels / 1e6 / seconds:.2f} Mvoxel/s" if voxels and seconds > 0 else ""
    Console(stderr=True, highlight=False).print(table)
    click.echo(f"{len(tasks)} tasks in {duration_text(seconds)}{speed}", err=True)
