"""create-bbox"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Task


class CreateBbox(TaskSource):
    """Make one task for one box, from its start and its stop or size."""

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = (
        "chunkflow create-bbox -s 0 0 0 -z 64 512 512 "
        "load-precomputed -v s3://lab/em save-h5 -f cutout.h5"
    )
    replaces: ClassVar[Mapping[str, str]] = {
        "generate-task, create-task": (
            "`create-bbox -s Z Y X -z Z Y X` makes one box, and `fetch-task-from-sqs -q "
            "QUEUE` takes boxes from a queue"
        ),
    }
    op: Literal["create-bbox"] = "create-bbox"
    start: Vec3 = field(flag="-s", help="First voxel of the box.")
    stop: Vec3 | None = field(None, flag="-p", help="Voxel after the last one of the box.")
    size: Vec3 | None = field(
        None, flag="-z", help="Size of the box in voxels, instead of its stop."
    )

    _sizes = field_validator("size")(above_zero)

    @model_validator(mode="after")
    def _is_one_box(self) -> CreateBbox:
        if (self.stop is None) == (self.size is None):
            raise ValueError("give the box a stop or a size, and not both")
        if self.stop is not None and not (self.start + 1).fits_in(self.stop):
            raise ValueError(
                f"the box starts at {tuple(self.start)} and stops at {tuple(self.stop)}: "
                "the stop must be larger on each axis"
            )
        return self

    def tasks(self) -> Iterator[Task]:
        yield Task(
            bbox=BoundingBox(
                self.start, self.stop if self.stop is not None else self.start + (self.size or 1)
            )
        )
