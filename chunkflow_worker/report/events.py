"""What happens to tasks, as frozen records. Metrics, logs, progress bars and tests subscribe to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from chunkflow_worker.image.bbox import BoundingBox


@dataclass(frozen=True)
class TaskStarted:
    job: str
    bbox: BoundingBox
    attempt: int


@dataclass(frozen=True)
class OperatorFinished:
    name: str
    bbox: BoundingBox | None
    seconds: float


@dataclass(frozen=True)
class TaskFinished:
    """A task whose output is verified and recorded. `operators`: seconds by operator name."""

    job: str
    bbox: BoundingBox
    state: Literal["done", "skipped"]
    seconds: float
    voxels: int
    operators: Mapping[str, float]
    device: str


@dataclass(frozen=True)
class TaskFailed:
    """An attempt that failed; `final` when no other will be made."""

    job: str
    bbox: BoundingBox
    attempt: int
    final: bool
    error: str
    device: str


Event = TaskStarted | OperatorFinished | TaskFinished | TaskFailed
Subscriber = Callable[[Event], None]


def publish(event: Event, subscribers: tuple[Subscriber, ...]) -> None:
    for subscriber in subscribers:
        subscriber(event)
