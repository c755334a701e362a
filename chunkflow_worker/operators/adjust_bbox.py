"""adjust-bbox"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class AdjustBbox(Operator):
    """Move the start and the stop of the task's box, for the operators that follow.

    Chunks that were already read keep their voxels. Chunks that are saved later are cut to the new
    box. Records keep the task's original box.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy \
            adjust-bbox -c -1 -8 -8 1 8 8 \
            load-zarr -f em.zarr \
            save-h5 -f cutouts/
    """
    moves_box: ClassVar[bool] = True
    op: Literal["adjust-bbox"] = "adjust-bbox"
    corner_offset: tuple[int, int, int, int, int, int] = field(
        flag="-c", help="Voxels to add to the start and to the stop: z0 y0 x0 z1 y1 x1."
    )

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        first, last = Vec3.of(self.corner_offset[:3]), Vec3.of(self.corner_offset[3:])
        start, stop = box.start + first, box.stop + last
        return BoundingBox(start, stop) if (start + 1).fits_in(stop) else None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            if task.bbox is None:
                raise ConfigError.one(
                    self.label,
                    "box",
                    "the task has no box",
                    "put create-bbox or generate-tasks first",
                )
            moved = self.box_after(task.bbox)
            if moved is None:
                cure = f"the box {task.bbox} has {list(task.bbox.size)} voxels"
                raise ConfigError.one(
                    self.label,
                    "corner_offset",
                    f"{list(self.corner_offset)} leaves nothing of the box",
                    cure,
                )
            task.bbox = moved

        yield step
