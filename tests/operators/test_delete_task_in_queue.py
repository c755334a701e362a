from __future__ import annotations

from collections.abc import Callable

from chunkflow_worker.operators.delete_task_in_queue import DeleteTaskInQueue
from chunkflow_worker.pipeline.task import Task


def test_it_does_nothing(run_step: Callable[..., Task]) -> None:
    """Named defect of the peer: deleting the message was an operator that users must remember."""
    assert run_step(DeleteTaskInQueue()) == Task()
    assert "when the whole chain has succeeded" in (DeleteTaskInQueue.__doc__ or "")
