"""A killer of worker processes. It signals only those that it is given, by their handle."""

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
    """One kill: the number of the victim, the signal, and the time in seconds since the epoch."""

    victim: int
    signal: signal.Signals
    at: float


@dataclass
class Killer:
    """Kills at random, the same way for the same seed. kills: those so far, oldest first."""

    random: random.Random
    kills: list[Kill] = field(default_factory=list)

    def strike(self, processes: Mapping[int, AnyWorker]) -> Kill | None:
        """Signal a running process that had no signal yet; None when there is no such process."""
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
