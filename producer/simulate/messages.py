"""`Messages`: the messages of a job, as SQS hides, shows and gives them up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simpy import Environment, Event


class Messages:
    """A standard queue with its dead letters. All messages are there at the start.

    done, dead: tasks whose messages were deleted, or moved to the dead letters.
    received: receives that returned a message. in_flight, peak: messages in flight, and their most.
    dry_at: when the last message that nobody had received before was received.
    was_full: whether the limit of messages in flight kept places waiting.
    ended: happens when all tasks are done or dead.
    """

    def __init__(self, env: Environment, tasks: int, max_receives: int, in_flight_limit: int):
        self._env, self._tasks = env, tasks
        self._max_receives, self._limit = max_receives, in_flight_limit
        self._new = 0  # the first message that nobody has received
        self._again: deque[int] = deque()  # visible again, and older than the new ones
        self._copies: deque[int] = deque()  # sent again, and younger than the new ones
        self._receives = [0] * tasks
        self._waiting: deque[Event] = deque()
        self.done = self.dead = self.received = self.in_flight = self.peak = 0
        self.dry_at, self.was_full = 0.0, False
        self.ended: Event = env.event()

    def take(self) -> int | None:
        """Receive a message; None when none is visible, or too many are in flight."""
        while self._again or self._new < self._tasks or self._copies:
            if self.in_flight >= self._limit:
                self.was_full = True
                return None
            task = self._next()
            if self._receives[task] >= self._max_receives:
                self.dead += 1
                self._end_if_over()
                continue
            self._receives[task] += 1
            self.received += 1
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            return task
        return None

    def wait(self) -> Event:
        """Happens when it is worth while to receive again."""
        event: Event = self._env.event()
        self._waiting.append(event)
        return event

    def wake(self) -> None:
        """Let one of those that wait receive, if any does."""
        if self._waiting:
            self._waiting.popleft().succeed()

    def attempts(self, task: int) -> int:
        """How often the message was received, without the receives that cost no attempt."""
        return self._receives[task]

    def delete(self) -> None:
        """A task is done."""
        self.done += 1
        self._leave_flight()
        self._end_if_over()

    def give_back(self, task: int) -> None:
        """Replace a message by a copy, which costs no attempt."""
        self._receives[task] -= 1
        self._copies.append(task)
        self._leave_flight()
        self.wake()

    def hide(self, task: int, seconds: float) -> None:
        """Let a message in flight become visible after so many seconds."""

        def show(_: Any) -> None:
            self._again.append(task)
            self._leave_flight()
            self.wake()

        self._env.timeout(seconds).callbacks.append(show)

    def delay(self, task: int, seconds: float) -> None:
        """Replace a message by a copy that is visible after so many seconds; not in flight."""

        def show(_: Any) -> None:
            self._copies.append(task)
            self.wake()

        self._leave_flight()
        self._env.timeout(seconds).callbacks.append(show)

    def _next(self) -> int:
        if self._again:
            return self._again.popleft()
        if self._new < self._tasks:
            self._new += 1
            self.dry_at = self._env.now
            return self._new - 1
        return self._copies.popleft()

    def _leave_flight(self) -> None:
        self.in_flight -= 1
        if self.was_full:
            self.wake()

    def _end_if_over(self) -> None:
        if self.done + self.dead == self._tasks and not self.ended.triggered:
            self.ended.succeed()
