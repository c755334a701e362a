"""`noted`: the files that an operator writes, and those that must not exist, for the record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.storage.written_file import WrittenFile, noting


@contextmanager
def noted(label: str, operator: Operator, task: Task) -> Iterator[None]:
    """Note in the task what an operator writes in the block. A task without a box has no record."""
    files: dict[str, WrittenFile] = {}
    try:
        with noting(files if task.bbox is not None else None):
            yield
    finally:
        task.files += files.values()
    if task.bbox is not None:
        task.no_files += own_names(operator, task, task.bbox)
    if operator.may_write_unseen and not files:
        task.unseen.append(label)


def own_names(operator: Operator, task: Task, box: BoundingBox) -> list[str]:
    """`files_of` the operator, in normal form."""
    return [normal_path(name) for name in operator.files_of(task, box)]
