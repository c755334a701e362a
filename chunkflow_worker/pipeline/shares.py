"""`prefixes_of`: the objects of one task, where the tasks of a stage are shares of all objects."""

from __future__ import annotations

from collections.abc import Iterable

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.share import Share
from chunkflow_worker.pipeline.task import Task


def prefixes_of(task: Task, label: str, what: str, prefix: str) -> Iterable[str]:
    """What the names of the fragments begin with that a task joins.

    label: of the operator. what: has been done to all boxes before. prefix: the one that an option
        gives; empty for none.
    Raises ConfigError for a box of voxels, which holds only a part of an object; and for a share
    of the objects of one prefix.
    """
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
