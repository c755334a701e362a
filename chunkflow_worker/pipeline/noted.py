"""What a record says of the files of a task: those that it wrote, and those that must not exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from chunkflow_worker.image.bbox import BoundingBox, Vec3
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
        task.files.update(files)
    if task.bbox is not None:
        task.no_files.extend(_own_names(operator, task, task.bbox))
        if operator.writes_unseen and not files:
            task.unchecked.append(label)


def note_left_out(later: Iterable[tuple[str, Operator]], task: Task, is_empty: bool) -> None:
    """Note what a task that was skipped says of the operators that did not run.

    is_empty: they would have nothing to write, so none of their files may exist.
    """
    for label, operator in later:
        # After these, files may have the names of another box.
        is_empty &= not operator.moves_box and operator.downsampling_factor == Vec3(1, 1, 1)
        names = _own_names(operator, task, task.bbox) if is_empty and task.bbox is not None else []
        task.no_files.extend(names)
        if operator.writes_files_at() and not names:
            task.unchecked.append(label)


def _own_names(operator: Operator, task: Task, box: BoundingBox) -> list[str]:
    return [normal_path(name) for name in operator.files_of(task, box)]
