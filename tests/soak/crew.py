"""The workers of a soak: killed at random, and replaced. The first one is spared."""

from __future__ import annotations

import random
import signal
import subprocess
import time

from tests.chaos.history import is_ready
from tests.support.forked import AnyWorker
from tests.support.killer import Killer
from tests.support.service import Service

SPARED = 0
"""The number of the worker that lives as long as the run, so that slow leaks show."""


class Crew:
    """Processes of the command of users, each with the same number of tasks in flight.

    members: those that run or are to be replaced, by number. deserted: that ended without a signal.
    """

    def __init__(self, service: Service, size: int, in_flight: int, seed: int, every: float):
        self.members: dict[int, AnyWorker] = {}
        self.deserted: list[str] = []
        self.killer = Killer(random.Random(seed))
        self._service, self._size, self._in_flight = service, size, in_flight
        self._every, self._ready = every, set[int]()
        self._next_kill = self._later()

    def fill(self) -> None:
        """Start a worker for each that is missing."""
        for number in [n for n, process in self.members.items() if process.poll() is not None]:
            self._note(number, self.members.pop(number).returncode)
        while len(self.members) < self._size:
            number = len(self._service.workers)
            self.members[number] = self._service.start_command(
                in_flight=self._in_flight,
                worker_name=name_of(number),
                block_cache="64KiB",
                spot_notice="false",
                health_folder=self._service.root,
            )

    def is_ready(self) -> bool:
        """Whether all do tasks."""
        return all(self._is_ready(number) for number in self.members)

    def strike(self) -> None:
        """Kill a worker if it is time to. The others go on before it has ended."""
        if time.monotonic() < self._next_kill:
            return
        self._ready |= {
            n for n in self.members if n not in self._ready and is_ready(self._service.root, n)
        }
        victims = {n: p for n, p in self.members.items() if n in self._ready and n != SPARED}
        if self.killer.strike(victims) is not None:
            self._next_kill = self._later()

    def pids(self) -> dict[str, int]:
        """Of the processes that do tasks: those that are ready, and were not told to end."""
        struck = {kill.victim for kill in self.killer.kills}
        return {
            name_of(number): process.pid
            for number, process in self.members.items()
            if number not in struck and process.poll() is None and self._is_ready(number)
        }

    def stop(self) -> None:
        """Let the workers end by themselves; notes those that do not."""
        for process in self.members.values():
            process.send_signal(signal.SIGTERM)
        for number, process in self.members.items():
            try:
                self._note(number, process.wait(30), was_asked=True)
            except subprocess.TimeoutExpired:
                self.deserted.append(f"{name_of(number)} did not end after SIGTERM")
                process.kill()

    def _note(self, number: int, status: int | None, *, was_asked: bool = False) -> None:
        """Note a worker that has ended otherwise than it should have."""
        kill = next((kill for kill in self.killer.kills if kill.victim == number), None)
        if kill is not None and kill.signal == signal.SIGKILL:
            expected = -signal.SIGKILL
        elif kill is not None or was_asked:
            expected = 0
        else:
            expected = None
        # Before it is ready, SIGTERM ends it at once.
        if status != expected and (expected is None or self._is_ready(number)):
            self.deserted.append(f"{name_of(number)}: status {status}")

    def _is_ready(self, number: int) -> bool:
        if number not in self._ready and is_ready(self._service.root, number):
            self._ready.add(number)
        return number in self._ready

    def _later(self) -> float:
        return time.monotonic() + self._every * self.killer.random.uniform(0.5, 1.5)


def name_of(number: int) -> str:
    """Without a space, as the pattern of `history` has it."""
    return f"worker-{number}"
