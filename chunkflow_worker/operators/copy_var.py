"""copy-var"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class CopyVar(Operator):
    """Copy a value of the task, for example a chunk, to another name."""

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow load-h5 -f em.h5 \
            copy-var -t smooth \
            gaussian-filter -i smooth \
            save-h5 -i smooth -f smooth.h5
    """
    op: Literal["copy-var"] = "copy-var"
    from_name: str = field("chunk", flag="-f", help="Value to copy.")
    to_name: str = field("chunk", flag="-t", help="Name of the copy.")
    deep_copy: bool = field(
        True, off="--shallow-copy", help="Copy the voxels too; a shallow copy shares them."
    )

    def reads(self) -> tuple[str, ...]:
        return (self.from_name,)

    def writes(self) -> tuple[str, ...]:
        return (self.to_name,)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        duplicate = deepcopy if self.deep_copy else copy

        def step(task: Task) -> None:
            if self.from_name not in task.values:
                raise task.missing(self.from_name)
            task.values[self.to_name] = duplicate(task.values[self.from_name])

        yield step
