"""A killer of processes: signals those that it was given, by their handle, and no others."""

from __future__ import annotations

import random
import signal
import subprocess
from dataclasses import dataclass, field
from time import time

SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True)
class Kill:
    """One kill: which process, by what, and when (seconds since the epoch)."""

    pid: int
    signal: signal.Signals
    at: float


@dataclass
class Killer:
    """Kills at random, the same way for the same seed."""

    random: random.Random
    kills: list[Kill] = field(default_factory=list)

    def strike(self, processes: list[subprocess.Popen[bytes]]) -> Kill | None:
        """Signal one of the processes that still run; None when there is none."""
        alive = [process for process in processes if process.poll() is None]
        if not alive:
            return None
        victim, by = self.random.choice(alive), self.random.choice(SIGNALS)
        kill = Kill(victim.pid, by, time())
        victim.send_signal(by)
        self.kills.append(kill)
        return kill
