"""What a local run took: seconds of each operator, and voxels a second."""

from __future__ import annotations

from collections.abc import Sequence

import click

from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.timings import Timing, print_timings


def show_summary(tasks: Sequence[Task], seconds: float) -> None:
    """Print a table of the operators' seconds over the tasks that ran, on stderr. seconds: of the whole run."""
    timings = [Timing(task.seconds, task.bbox.voxels if task.bbox else 0) for task in tasks]
    print_timings(timings, stderr=True)
    voxels = sum(timing.voxels for timing in timings)
    speed = (
        f", {voxels / 1e6:.1f} Mvoxel, {voxels / 1e6 / seconds:.2f} Mvoxel/s"
        if voxels and seconds > 0
        else ""
    )
    click.echo(
        f"{len(tasks)} task{'s' * (len(tasks) != 1)} in {duration_text(seconds)}{speed}", err=True
    )
