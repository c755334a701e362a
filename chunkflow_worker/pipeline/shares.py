"""`fragments_of`: the fragments that one task joins, where tasks may be shares of all objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.share import Share
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.files import Files


def fragments_of(task: Task, files: Files, label: str, what: str, prefix: str) -> Iterator[str]:
    """The names of the fragments that a task joins, and of other files that begin as they do.

    files: the folder of the fragments. label: of the operator. what: has been done to all boxes
    before. prefix: the one that an option gives; empty for none.
    Raises ConfigError for a box of voxels, which holds only a part of an object; and for a share
    of the objects of one prefix. Raises StorageUnavailable.
    """
    for one in _prefixes(task, label, what, prefix):
        yield from files.list(one)


def _prefixes(task: Task, label: str, what: str, prefix: str) -> Iterable[str]:
    """What the names of the fragments begin with."""
    if task.bbox is None:
        return [prefix]
    share = Share.of(task.bbox)
    if share is None:
        cure = (
            f"run it by itself when all boxes are {what}: chunkflow {label}; or in a stage with "
            "tasks: {shares: 100}"
        )
        problem = "holds only a part of the fragments"
        raise ConfigError.one(label, f"box {task.bbox}", problem, cure)
    if prefix:
        cure = "leave it out: a share is made of prefixes"
        raise ConfigError.one(label, "prefix", "is given, and the task is a share, too", cure)
    return share.prefixes()
