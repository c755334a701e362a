"""`InHand`: the tasks that one process is working on, with their leases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chunkflow_worker.errors import RetryableError
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.service.places import Place
from chunkflow_worker.storage.fence import Fence


@dataclass(eq=False)
class Held:
    """A task in hand.

    started: when the work on it began, by the worker's clock; time spent waiting for storage does
        not count.
    fault: why its next check must fail.
    place: where it works; None for one that always does.
    taken: when it came into hand. thread: that works on it.
    operator: that runs now, and when it began; None between two.
    fence: that lets its writes through.
    is_opening: it waits until the chain of its stage is open, which does not count as its time.
    is_recorded: it is done, and only its message is left to be deleted.
    """

    lease: Lease
    started: float
    fault: RetryableError | None = None
    place: Place | None = None
    taken: float = field(init=False)
    thread: int = field(default_factory=threading.get_ident)
    operator: tuple[str, float] | None = None
    fence: Fence = field(init=False)
    is_opening: bool = False
    is_recorded: bool = False

    def __post_init__(self) -> None:
        self.taken = self.started
        self.fence = Fence(self.lease.check)

    @property
    def is_working(self) -> bool:
        """False while the task waits for its record, and holds no memory to speak of."""
        return self.place is None or self.place.is_held

    @property
    def delivery(self) -> Delivery:
        return self.lease.delivery


class InHand:
    """The held tasks of a process; may be used from several threads."""

    def __init__(self) -> None:
        self._held: list[Held] = []
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, held: Held) -> Iterator[Held]:
        """The task is in hand until the block ends."""
        with self._lock:
            self._held.append(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)

    def all(self) -> list[Held]:
        """The tasks in hand now, the oldest first."""
        with self._lock:
            return list(self._held)

    def of_this_thread(self) -> Held | None:
        """The task that the calling thread works on."""
        thread = threading.get_ident()
        return next((held for held in self.all() if held.thread == thread), None)

    @contextmanager
    def opening(self, clock: Callable[[], float]) -> Iterator[None]:
        """In the block, a chain is opened for the task of this thread, whose time begins then."""
        held = self.of_this_thread()
        if held is None:
            yield
            return
        held.is_opening = True
        try:
            yield
        finally:
            held.started, held.is_opening = clock(), False

    def __contains__(self, held: Held) -> bool:
        with self._lock:
            return held in self._held

    def __len__(self) -> int:
        with self._lock:
            return len(self._held)
