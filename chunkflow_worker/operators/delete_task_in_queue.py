"""delete-task-in-queue"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal

from chunkflow_worker.pipeline.operator import Operator, Run, Step


class DeleteTaskInQueue(Operator):
    """Kept for old command lines: does nothing, since a task's message is deleted by itself once the whole chain succeeded.

    Differs from chunkflow 1.2.0: there, a chain without this operator did its tasks again and again, as did one that skipped.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-sqs -q boxes \
            load-zarr -f s3://lab/em.zarr \
            save-precomputed -v s3://lab/em \
            delete-task-in-queue
    """
    op: Literal["delete-task-in-queue"] = "delete-task-in-queue"

    def open(self, run: Run) -> AbstractContextManager[Step]:
        return nullcontext(lambda task: None)
