"""What happens to tasks, as frozen records that subscribers receive.

Metrics, logs, progress bars and tests are subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from chunkflow_worker.image.bbox import BoundingBox


@dataclass(frozen=True)
class TaskStarted:
    """An attempt has begun. attempt: counts from 1."""

    job: str
    bbox: BoundingBox
    attempt: int


@dataclass(frozen=True)
class OperatorStarted:
    """An operator begins its step of a task. bbox: None for a task without a box."""

    name: str
    bbox: BoundingBox | None


@dataclass(frozen=True)
class OperatorFinished:
    """An operator has finished its step of a task. bbox: None for a task without a box."""

    name: str
    bbox: BoundingBox | None
    seconds: float


@dataclass(frozen=True)
class TaskFinished:
    """The output of a task is verified and its record is written.

    seconds: of the whole task.
    voxels: of its output.
    operators: seconds by name of the operator.
    device: what computed; empty when not known.
    patches: that a net ran on. bytes_read, bytes_written: from and to storage, unpacked.
    """

    job: str
    bbox: BoundingBox
    state: Literal["done", "skipped"]
    seconds: float
    voxels: int
    operators: Mapping[str, float]
    device: str
    patches: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(frozen=True)
class TaskFailed:
    """An attempt has failed. final: whether it was the last one."""

    job: str
    bbox: BoundingBox
    attempt: int
    final: bool
    error: str
    device: str


@dataclass(frozen=True)
class TaskDropped:
    """The message of a box was dropped, since its job is cancelled."""

    job: str
    bbox: BoundingBox


@dataclass(frozen=True)
class JobPausedByBreaker:
    """This worker has paused a job. boxes: how many failed for the cause."""

    job: str
    cause: str
    boxes: int


Event = (
    TaskStarted
    | OperatorStarted
    | OperatorFinished
    | TaskFinished
    | TaskFailed
    | TaskDropped
    | JobPausedByBreaker
)
Subscriber = Callable[[Event], None]


def publish(event: Event, subscribers: tuple[Subscriber, ...]) -> None:
    """Pass `event` to all subscribers, one after the other, in the caller's thread."""
    for subscriber in subscribers:
        subscriber(event)
