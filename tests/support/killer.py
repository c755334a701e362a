"""A killer of processes: signals those that it was given, by their handle, and no others."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.forked import AnyWorker

SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True)
class Kill:
    """One kill: whom, by what, and when (seconds since the epoch)."""

    victim: int
    signal: signal.Signals
    at: float


@dataclass
class Killer:
    """Kills at random, the same way for the same seed. kills: what was done so far, oldest first."""

    random: random.Random
    kills: list[Kill] = field(default_factory=list)

    def strike(self, processes: Mapping[int, AnyWorker]) -> Kill | None:
        """Signal one of the processes that still run and had no signal yet; None when there is none."""
        struck = {kill.victim for kill in self.kills}
        alive = sorted(
            number
            for number, process in processes.items()
            if number not in struck and process.poll() is None
        )
        if not alive:
            return None
        kill = Kill(self.random.choice(alive), self.random.choice(SIGNALS), time.time())
        processes[kill.victim].send_signal(kill.signal)
        self.kills.append(kill)
        return kill

    def count(self, number: signal.Signals) -> int:
        return sum(kill.signal == number for kill in self.kills)
