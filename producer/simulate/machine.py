"""`Machine`: when it starts, stops and ends, and what its places did."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from producer.simulate.assumptions import Assumptions


@dataclass
class Machine:
    """One machine with one worker. Times are seconds since the start of the job.

    launched: it is paid from here on. ready: its worker receives tasks. notice: of its end.
    closes: it receives no more. stops: what is in progress then is lost. ends: it is not paid
    any more. gives_back: whether the worker gives lost tasks back itself.
    waiting: places without a task. since: when the first of them began to wait.
    """

    launched: float
    ready: float
    notice: float = inf
    closes: float = inf
    stops: float = inf
    ends: float = inf
    gives_back: bool = False
    waiting: int = 0
    since: float = 0.0

    @classmethod
    def launch(cls, now: float, life: float, assumed: Assumptions) -> Machine:
        """life: seconds until the notice that it will end."""
        ready, notice = now + assumed.startup_seconds, now + life
        ends = notice + assumed.notice_seconds
        if not assumed.drain:
            return cls(now, ready, notice, ends, ends, ends)
        stops = notice + assumed.grace_seconds
        return cls(now, ready, notice, notice, stops, ends, gives_back=True)

    def paid(self, now: float) -> float:
        """Seconds that are paid, if the job ends now."""
        return min(self.ends, now) - self.launched

    def starting(self, now: float) -> float:
        """Seconds of them before it was ready."""
        return min(self.ready, self.ends, now) - self.launched
