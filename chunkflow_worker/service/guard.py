"""`Guard`: watches a worker process from a thread of its own.

It ends the process when the poll loop makes no progress, when a task exceeds its time limit, and
when memory keeps growing inside an operator. It also writes the worker's state for health probes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import OutOfMemory, RetryableError, TaskTooLong
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.machine.memory import cgroup_limit, resident_bytes
from chunkflow_worker.service.health import Health, HealthFile, Phase
from chunkflow_worker.service.in_hand import Held, InHand
from chunkflow_worker.service.poller import Poller

log = logging.getLogger(__name__)

# Exit statuses of a worker that ends itself
POLL_LOOP_STANDS_STILL, TASK_TOO_LONG, OUT_OF_MEMORY = 70, 71, 72

_TURN_SECONDS, _HEALTH_SECONDS = 0.5, 2.0
_FREEING_SECONDS = 2.0  # until the memory of a task that has ended is free
_MEMORY_SHARE = 0.95  # of the limit, above which memory is scarce


class End(Protocol):
    """Ends the process with a status; the `failing` tasks count as failed.

    at_once: without settling any message.
    """

    def __call__(
        self, status: int, failing: Mapping[Held, RetryableError], *, at_once: bool = False
    ) -> None: ...


@dataclass(frozen=True)
class _Pressed:
    """The task that had to fail when memory was almost used up, and the bytes used then."""

    held: Held
    used: int


class Guard:
    """Call `turn` every half second, or `start` a thread that does.

    end: called when the process must end.
    used_memory: bytes that the process and its children hold.
    phase: of the worker. While it opens, only its health file is written.
    """

    def __init__(
        self,
        settings: Settings,
        lease_seconds: int,
        in_hand: InHand,
        poller: Poller,
        end: End,
        *,
        clock: Callable[[], float] = elapsed,
        used_memory: Callable[[], int] = resident_bytes,
    ):
        self.phase: Phase = "opening"
        self._settings, self._lease_seconds = settings, lease_seconds
        self._in_hand, self._poller, self._end = in_hand, poller, end
        self._clock, self._used_memory = clock, used_memory
        self._memory_limit = settings.memory_limit or cgroup_limit()
        self._pressed: _Pressed | None = None
        self._pressed_until = clock()
        self._health = HealthFile(settings.health_folder)
        self._health_due = clock()
        self._health_failed = False
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take turns in a thread, until `close`."""
        threading.Thread(target=self._take_turns, name="guard", daemon=True).start()

    def running(self) -> None:
        """The worker is open: watch it, from now on."""
        self._poller.touch()  # opening volumes and models may have taken long
        self.phase = "running"
        self._health_due = self._clock()

    def stopping(self) -> None:
        """The worker stops: its poll loop may stand still, its tasks are watched as before."""
        self.phase = "stopping"

    def close(self) -> None:
        """Stop watching, and remove the health file."""
        self.phase = "stopping"
        self._stopped.set()
        self._health.remove()

    def turn(self) -> None:
        """Look once."""
        if self.phase != "opening":
            self._watch_poll_loop()
            self._watch_time()
            self._watch_memory()
        if self._clock() >= self._health_due:
            self._write_health()

    def _take_turns(self) -> None:
        while not self._stopped.wait(_TURN_SECONDS):
            self.turn()

    def _watch_poll_loop(self) -> None:
        limit = self._settings.watchdog_seconds
        if self.phase == "running" and self._clock() - self._poller.last_turn > limit:
            log.critical("the poll loop has made no progress for %.0f s, ending the worker", limit)
            self._end(POLL_LOOP_STANDS_STILL, {}, at_once=True)

    def _watch_time(self) -> None:
        limit = self._settings.task_time_limit
        if limit is None:
            return
        watched = [held for held in self._in_hand.all() if not held.is_opening]
        late = [held for held in watched if self._clock() - held.started > limit]
        for held in late:
            box = held.delivery.message.bbox
            log.critical("task %s exceeds the limit of %.0f s, ending the worker", box, limit)
        if late:
            error = TaskTooLong(f"ended after {limit:.0f} s, the time limit of a task")
            self._end(TASK_TOO_LONG, dict.fromkeys(late, error))

    def _watch_memory(self) -> None:
        """Fail the newest task when memory is scarce; end the process when it still grows."""
        limit = self._memory_limit
        if limit is None or (used := self._used_memory()) < _MEMORY_SHARE * limit:
            return
        pressed, now = self._pressed, self._clock()
        if pressed is not None and pressed.held in self._in_hand:
            if used > pressed.used or used >= limit:
                log.critical("memory still grows, %s: ending the worker", _sizes(used, limit))
                error = OutOfMemory(f"out of memory: {_sizes(used, limit)}")
                self._end(OUT_OF_MEMORY, {pressed.held: error})
        elif pressed is not None:
            self._pressed, self._pressed_until = None, now + _FREEING_SECONDS
        elif now >= self._pressed_until and (working := self._working()):
            newest = max(working, key=lambda held: held.started)
            newest.fault = OutOfMemory(f"out of memory: {_sizes(used, limit)}")
            self._pressed = _Pressed(newest, used)
            box = newest.delivery.message.bbox
            log.error("memory is almost used up, %s: task %s fails", _sizes(used, limit), box)

    def _working(self) -> list[Held]:
        return [held for held in self._in_hand.all() if held.is_working]

    def _write_health(self) -> None:
        now = self._clock()
        self._health_due = now + _HEALTH_SECONDS
        lost_at = [held.lease.lost_at for held in self._in_hand.all()]
        health = Health(
            name=self._settings.worker_name,
            phase=self.phase,
            turn_age=now - self._poller.last_turn,
            turn_limit=self._settings.watchdog_seconds,
            lost_seconds=max((now - at for at in lost_at if at is not None), default=0.0),
            lease_seconds=self._lease_seconds,
            queue_answers=not self._poller.outage.is_on,
        )
        try:
            self._health.write(health)
        except OSError as error:
            if not self._health_failed:
                log.warning("health probes will not find this worker: %s", error)
            self._health_failed = True


def _sizes(used: int, limit: int) -> str:
    return f"{used / 2**20:,.0f} MiB are used and the limit is {limit / 2**20:,.0f} MiB"
