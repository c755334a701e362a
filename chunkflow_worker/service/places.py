"""`Places`: how many tasks a worker works on at once, and who waits until one more may come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHECK_SECONDS = 0.5


class Places:
    """The places of a process for tasks. They bound its memory.

    A task has a place from before its receive until its chain has ended. While it is recorded and
    its message is deleted, another task may have the place, so that none of that costs time of the
    device. As many tasks as there are places may be in that state.
    """

    def __init__(self, count: int):
        self.count = count
        self._working = 0  # places that are taken or reserved
        self._recording = 0
        self._changed = threading.Condition()

    @property
    def most_tasks(self) -> int:
        """How many tasks may be in hand, with those that are recorded."""
        return 2 * self.count

    @property
    def free(self) -> int:
        """How many places can be reserved now."""
        in_hand = self._working + self._recording
        return min(self.count - self._working, self.most_tasks - in_hand)

    def reserve(self, most: int, seconds: float) -> int:
        """Reserve at most so many places, and return how many; waits so long if none is free."""
        with self._changed:
            if self.free <= 0:
                self._changed.wait(seconds)
            count = max(0, min(most, self.free))
            self._working += count
            return count

    def release(self, count: int = 1) -> None:
        """Free so many places that were reserved."""
        self._change(working=-count)

    def interrupt(self) -> None:
        """End the waits of now."""
        self._change()

    @contextmanager
    def taken(self, check: Callable[[], None] = lambda: None) -> Iterator[Place]:
        """Of the reserved places, that of a task, which is in hand until the block ends.

        check: raises when the task must not wait for a place any longer.
        """
        place = Place(self, check)
        try:
            yield place
        finally:
            place.end()

    def _change(self, working: int = 0, recording: int = 0) -> None:
        with self._changed:
            self._working += working
            self._recording += recording
            self._changed.notify_all()


class Place:
    """That of one task. See `Places.taken`. is_held: whether the task has it now."""

    def __init__(self, places: Places, check: Callable[[], None]):
        self._places, self._check = places, check
        self.is_held = True

    @contextmanager
    def working(self) -> Iterator[None]:
        """The task needs its place in the block, and frees it at the end.

        When it fails, it keeps the place until it is settled, since the error keeps its values. A
        task that must work again waits for a place.
        """
        while not self.is_held:
            self._check()
            if self._places.reserve(1, _CHECK_SECONDS):
                self._places._change(recording=-1)
                self.is_held = True
        yield
        self.is_held = False
        self._places._change(working=-1, recording=1)

    def end(self) -> None:
        """The task is not in hand any more."""
        if self.is_held:
            self._places.release()
        else:
            self._places._change(recording=-1)
