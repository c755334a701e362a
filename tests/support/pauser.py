"""A pauser of worker processes (SIGSTOP, SIGCONT), of those that it is given, by their handle."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.forked import AnyWorker


@dataclass(frozen=True)
class Pause:
    """One pause: the number of the victim, and its times in seconds since the epoch."""

    victim: int
    began: float
    ended: float


@dataclass
class Pauser:
    """Pauses processes. pauses: those that are over, oldest first."""

    pauses: list[Pause] = field(default_factory=list)
    _paused: dict[int, tuple[AnyWorker, float, float]] = field(default_factory=dict)

    def awake(self, processes: Mapping[int, AnyWorker]) -> dict[int, AnyWorker]:
        """Those of these that run now."""
        return {
            number: process
            for number, process in processes.items()
            if number not in self._paused and process.poll() is None
        }

    def pause(self, victim: int, process: AnyWorker, seconds: float = float("inf")) -> None:
        """Stop a process. `turn` lets it go on when the time is over."""
        process.send_signal(signal.SIGSTOP)
        began = time.time()
        self._paused[victim] = (process, began, began + seconds)

    def turn(self) -> None:
        """Let those go on whose time is over."""
        now = time.time()
        for victim in [n for n, (_, _, until) in self._paused.items() if until <= now]:
            self.resume(victim)

    def resume(self, victim: int) -> None:
        """Let a process go on."""
        process, began, _ = self._paused.pop(victim)
        ended = time.time()
        process.send_signal(signal.SIGCONT)
        self.pauses.append(Pause(victim, began, ended))

    @contextmanager
    def awake_at_the_end(self) -> Iterator[None]:
        """None stays paused when the block ends: it could not be stopped."""
        try:
            yield
        finally:
            for victim in tuple(self._paused):
                self.resume(victim)
