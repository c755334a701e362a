"""delete-task-in-queue"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal

from chunkflow_worker.pipeline.operator import Operator, Run, Step


class DeleteTaskInQueue(Operator):
    """Accepted for compatibility with chunkflow 1.2.0; has no effect.

    The message of a task is deleted automatically when the whole chain has succeeded.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-sqs -q boxes \
            load-zarr -f s3://lab/em.zarr \
            save-precomputed -v s3://lab/em \
            delete-task-in-queue
    """
    differs: ClassVar[str] = (
        "In chunkflow, a chain without this operator repeated its tasks forever; so did a chain "
        "that skipped a task."
    )
    formerly: ClassVar[tuple[str, ...]] = ("delete-task",)
    op: Literal["delete-task-in-queue"] = "delete-task-in-queue"

    def open(self, run: Run) -> AbstractContextManager[Step]:
        return nullcontext(lambda task: None)
