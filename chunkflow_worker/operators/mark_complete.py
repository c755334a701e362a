"""mark-complete"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.flags import Flags


class MarkComplete(Operator):
    """Create an empty file named by the task's box, to show that the earlier operators are done.

    An existing file of that name is kept. Workers keep their own records; this operator is for
    programs that look for files, such as skip-task-by-file.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy \
            load-zarr -f em.zarr \
            save-h5 -f cutouts/ \
            mark-complete -p s3://lab/flags/
    """
    differs: ClassVar[str] = "The files may be in object storage."
    writes_paths: ClassVar[tuple[str, ...]] = ("prefix",)
    flags: ClassVar[tuple[str, ...]] = ("prefix",)
    op: Literal["mark-complete"] = "mark-complete"
    prefix: str = field(
        flag="-p", help="Start of the file's name, with its folder or address; the box follows."
    )
    suffix: str = field("", flag="-s", help="End of the file's name, after the box.")

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return [Flags(self.prefix, self.suffix).name(box)]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        flags = Flags(self.prefix, self.suffix)

        def step(task: Task) -> None:
            flags.name(task.bbox)  # so that a dry run reports mistakes too
            if not run.dry_run:
                flags.mark(task.bbox)

        yield step
