"""Stand-ins for the pipeline of a worker and for its process, and tasks to run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.pipeline.task import Task

Check = Callable[[], None]
AWAY = EndpointConnectionError(endpoint_url="http://127.0.0.1")


def nothing(task: Task, check: Check) -> None:
    check()


@dataclass
class Chain:
    """Stands for a pipeline, closed and open: does what the test says.

    closed: how often the block of its `open` has ended.
    """

    work: Callable[[Task, Check], None] = nothing
    digest: str = "d1"
    ledger_path: str | None = None
    addresses: tuple[str, ...] = ()
    operators: tuple[Any, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    closed: int = 0
    close_error: Exception | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self, subscribers: Any, **options: Any) -> Iterator[Chain]:
        self.options = options
        yield self
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error

    def run(self, task: Task, check: Check) -> None:
        self.work(task, check)


@dataclass
class Process:
    """Stands for the process of a worker. status: with which it was ended; None while it runs."""

    status: int | None = None
    stops_asked_for: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def exit(self, status: int) -> None:
        self.status = status
        self.ended.set()

    def ask_to_stop(self) -> None:
        self.stops_asked_for += 1


def failing_with(error: BaseException) -> Callable[[Task, Check], None]:
    def work(task: Task, check: Check) -> None:
        raise error

    return work
