"""Records of tasks, as workers write them."""

from __future__ import annotations

from typing import Any, Literal

from chunkflow_worker.job.record import Record


def task_record(
    bbox: str, state: Literal["done", "skipped", "failed"] = "done", **fields: Any
) -> Record:
    """A record of the first attempt at a task of job ``j``; `fields` replaces what they name."""
    known: dict[str, Any] = {"job": "j", "task_id": "1", "attempts": 1, "worker": "w"}
    return Record(bbox=bbox, state=state, **(known | fields))
