"""skip-task-by-file"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.flags import Flags


class SkipTaskByFile(Operator):
    """Skip a task if a file named by its box exists, is missing, or is empty."""

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy \
            skip-task-by-file -p s3://lab/flags/ \
            load-zarr -f em.zarr \
            save-h5 -f cutouts/ \
            mark-complete -p s3://lab/flags/
    """
    differs: ClassVar[str] = (
        "The files may be in object storage, where all workers see them. A missing file does not "
        "count as empty."
    )
    reads_paths: ClassVar[tuple[str, ...]] = ("prefix",)
    formerly: ClassVar[tuple[str, ...]] = ("skip-task",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-e, --pre": "--prefix",
        "-t, --post": "--suffix",
        "-g, --grow-size": "--adjust-size",
        "--only-empty": "--mode empty",
        "--missing": "--mode missing",
    }
    op: Literal["skip-task-by-file"] = "skip-task-by-file"
    prefix: str = field(
        flag="-p", help="Start of the file's name, with its folder or address; the box follows."
    )
    suffix: str = field("", flag="-s", help="End of the file's name, after the box.")
    mode: Literal["missing", "empty", "exist"] = field(
        "exist",
        flag="-m",
        help="Skip if the file is missing, if it exists and is empty, or if it exists.",
    )
    adjust_size: int | None = field(
        None, flag="-a", help="Voxels by which the box in the name is larger, on each side."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        flags = Flags(self.prefix, self.suffix, self.adjust_size or 0)

        def step(task: Task) -> None:
            size = flags.size(task.bbox)
            if {"missing": size is None, "empty": size == 0, "exist": size is not None}[self.mode]:
                state = {"missing": "is missing", "empty": "is empty", "exist": "exists"}[self.mode]
                raise SkipTask(f"{flags.name(task.bbox)} {state}")

        yield step
