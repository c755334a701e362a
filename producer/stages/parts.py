"""`Part`: a job of a stage: all boxes of its grid, or a wave of its tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.local_job import grid_options
from chunkflow_worker.job.stages import job_name
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile


@dataclass(frozen=True)
class Part:
    """A job of a stage.

    job: its name. make: makes its record; it may read volumes, and raises what `make_plan` raises.
    tasks: how many it has; None before it is recorded.
    """

    job: str
    make: Callable[[], JobRecord]
    tasks: int | None = None


def part_of_grid(file: PipelineFile, job: str, queue: str) -> Part:
    """All boxes of the grid of a stage. job: the name of that of the whole file."""
    name = job_name(job, file.stage.name)
    return Part(name, lambda: make_plan(queue, name, Grid(), file).record)


def part_of_wave(file: PipelineFile, job: str, queue: str, number: int, boxes: Boxes) -> Part:
    """A wave of the tree of a stage."""
    name = job_name(job, file.stage.name, number)

    def make() -> JobRecord:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return JobRecord(
            job=name,
            queue=queue,
            tasks=len(boxes),
            pipeline=file.digest,
            grid=grid_options(boxes),
            enqueued=now,
            began=now,
            stage=file.stage.name,
        )

    return Part(name, make, len(boxes))
