"""`elapsed`: seconds that have passed, those included in which this machine stood still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_JUMP_SECONDS = 1.0  # by which the wall clock must run ahead to count


def _since_boot() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ElapsedClock:
    """A clock that never goes back, and that a stopped machine does not deceive.

    The monotonic clocks of a virtual machine may stand still while its host has frozen it; the wall
    clock is set right when it goes on. So when the wall clock has run ahead of the other, its time
    counts. A wall clock that is set forward by hand looks the same, which makes what waits for this
    clock happen early. One that is set back changes nothing.
    """

    def __init__(
        self,
        steady: Callable[[], float] = _since_boot,
        wall: Callable[[], float] = time.time,
    ):
        self._steady, self._wall = steady, wall
        self._lock = threading.Lock()
        self._now, self._steady_then, self._wall_then = 0.0, steady(), wall()

    def __call__(self) -> float:
        """Seconds since this clock was made."""
        with self._lock:
            steady, wall = self._steady(), self._wall()
            by_steady, by_wall = steady - self._steady_then, wall - self._wall_then
            jumped = by_wall > by_steady + _JUMP_SECONDS
            self._now += by_wall if jumped else max(0.0, by_steady)
            self._steady_then, self._wall_then = steady, wall
            return self._now


elapsed = ElapsedClock()
