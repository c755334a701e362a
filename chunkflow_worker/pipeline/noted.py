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
    """Note in the task what an operator writes in the block. A task without a box has no record.

    An operator that may write, and of which nothing is noted, is noted by its label.
    """
    files: dict[str, WrittenFile] = {}
    before = task.notes
    try:
        with noting(files if task.bbox is not None else None) as notes:
            yield
    finally:
        task.files += files.values()
    if task.bbox is not None:
        task.no_files += own_names(operator, task, task.bbox)
    if notes.is_told or task.notes != before:
        return
    if operator.results():
        task.unchecked.append(label)
    elif operator.may_write_unseen:
        task.unseen.append(label)


def own_names(operator: Operator, task: Task, box: BoundingBox) -> list[str]:
    """`files_of` the operator, in normal form."""
    return [normal_path(name) for name in operator.files_of(task, box)]
