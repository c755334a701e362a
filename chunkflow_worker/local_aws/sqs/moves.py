"""`move_all` and `Moves`: tasks that move dead letters back to where they came from."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from chunkflow_worker.local_aws.sqs.message import Message
from chunkflow_worker.local_aws.sqs.queue import LocalQueue

_SHOWN = 10


class Moves:
    """The last tasks of each source queue, the newest first. A task is done when it is answered."""

    def __init__(self) -> None:
        self._done: dict[str, deque[dict[str, Any]]] = defaultdict(lambda: deque(maxlen=_SHOWN))

    def add(self, source: str, target: str | None, moved: int, left: int, now: float) -> str:
        """Note a task by the ARNs of its queues; returns its handle."""
        task = {
            "Status": "FAILED" if left else "COMPLETED",
            "SourceArn": source,
            "ApproximateNumberOfMessagesMoved": moved,
            "ApproximateNumberOfMessagesToMove": moved + left,
            "StartedTimestamp": round(now * 1000),
        }
        if target:
            task["DestinationArn"] = target
        if left:
            task["FailureReason"] = "CouldNotDetermineMessageSource"
        self._done[source].appendleft(task)
        return uuid4().hex

    def of(self, source: str) -> list[dict[str, Any]]:
        return list(self._done[source])


def move_all(
    source: LocalQueue, target_of: Callable[[Message], LocalQueue | None], now: float
) -> tuple[int, int]:
    """Move the visible messages; returns how many were moved and how many have no target.

    SQS takes them for new ones: their receives and their time begin anew.
    """
    moved = left = 0
    for message in list(source.visible()):
        target = target_of(message)
        if target is None:
            left += 1
            continue
        source.drop(message.number)
        fresh = replace(message, id=str(uuid4()), sent_at=now, visible_at=now, receives=0)
        target.send(replace(fresh, first_received_at=0.0, received_at=0.0, source=""))
        moved += 1
    return moved, left
