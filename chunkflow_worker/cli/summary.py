"""What a local run took: seconds of each operator, and voxels a second."""

from __future__ import annotations

from collections.abc import Sequence

from chunkflow_worker.job.clipped import clipped_lines, clipped_shares
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.say import say
from chunkflow_worker.report.timings import Timing, print_timings


def show_summary(tasks: Sequence[Task], seconds: float) -> None:
    """Print on stderr a table of the seconds of each operator over these tasks.

    seconds: of the whole run.
    """
    timings = [Timing(task.seconds, task.bbox.voxels if task.bbox else 0) for task in tasks]
    print_timings(timings, stderr=True)
    count = f"{len(tasks)} task{'s' * (len(tasks) != 1)}"
    mvoxels = sum(timing.voxels for timing in timings) / 1e6
    is_known = mvoxels > 0 and seconds > 0
    speed = f", {mvoxels:.1f} Mvoxel, {mvoxels / seconds:.2f} Mvoxel/s" if is_known else ""
    say(f"{count} in {duration_text(seconds)}{speed}", err=True)
    for line in clipped_lines(clipped_shares(one for task in tasks for one in task.clipped)):
        say(line, err=True)
