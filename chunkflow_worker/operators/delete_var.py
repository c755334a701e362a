"""delete-var"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task


class DeleteVar(Operator):
    """Drop values of the task, for example chunks, to free their memory."""

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 threshold -t 99 -o mask "
        "delete-var -v chunk save-h5 -i mask -f mask.h5"
    )
    formerly: ClassVar[tuple[str, ...]] = ("delete-chunk",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-c, --chunk-name, --var-name": "--var-names",
    }
    op: Literal["delete-var"] = "delete-var"
    var_names: str = field(flag="-v", many=True, help="Values to drop, separated by commas.")

    def reads(self) -> tuple[str, ...]:
        return split_names(self.var_names)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        names = split_names(self.var_names)

        def step(task: Task) -> None:
            missing = [name for name in names if name not in task.values]
            if missing:
                raise task.missing(*missing)
            for name in names:
                del task.values[name]

        yield step
