"""`Fleet`: starts and replaces machines, and lets their places do tasks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from producer.simulate.assumptions import Assumptions
from producer.simulate.durations import Seconds
from producer.simulate.machine import Machine
from producer.simulate.messages import Messages

if TYPE_CHECKING:
    from simpy import Environment, Event

MAX_BACKOFF_SECONDS = 900
_LONG_WAIT_SECONDS = 60  # until the next attempt: then it is a copy, which is not in flight
RENEWALS = 3  # in the length of a lease


class Fleet:
    """So many workers, each on a machine of its own, until all tasks are done or dead.

    One process for each machine that is ever launched, and one for each place. When a machine ends
    is known at its launch, so a place needs one event for a task, and none is ever interrupted.

    lives: from the launch of each machine to the notice of its end.
    seconds: that each task takes.
    useful, failed, lost: seconds of places for tasks that ended, for attempts that failed, and for
        those that interruptions cut off. cut: how many these were.
    empty_polls: receives that returned nothing.
    """

    def __init__(
        self,
        env: Environment,
        messages: Messages,
        assumed: Assumptions,
        lives: Iterator[float],
        seconds: Seconds,
        chance: np.random.Generator,
    ):
        self._env, self._messages, self._assumed = env, messages, assumed
        self._lives, self._chance = lives, chance
        self._seconds: list[float] = (seconds + assumed.overhead_seconds).tolist()
        self.machines: list[Machine] = []
        self.useful = self.failed = self.lost = self.empty_polls = 0.0
        self.cut = 0

    def start(self, workers: int) -> None:
        """Launch the machines, at once or as fast as the cloud gives them."""
        rate = self._assumed.launches_a_minute
        for number in range(workers):
            self._env.process(self._machine(60 * number / rate if rate else 0))

    def end(self) -> None:
        """Count the polls of places that wait."""
        for machine in self.machines:
            if machine.waiting:
                self._count_polls(machine)

    def _machine(self, after: float) -> Generator[Event, None, None]:
        """Launch a machine after so many seconds, and another one when it was lost."""
        env, assumed = self._env, self._assumed
        while True:
            yield env.timeout(after)
            machine = Machine.launch(env.now, next(self._lives), assumed)
            self.machines.append(machine)
            if machine.ready < machine.closes:
                yield env.timeout(machine.ready - env.now)
                for _ in range(assumed.in_flight):
                    env.process(self._place(machine))
            if machine.ends == inf:
                return
            yield env.timeout(machine.ends - env.now)
            after = assumed.replacement_seconds

    def _place(self, machine: Machine) -> Generator[Event, None, None]:
        """Do one task after another until the machine ends."""
        env, messages, seconds = self._env, self._messages, self._seconds
        fails = self._assumed.failures
        while env.now < machine.closes:
            task = messages.take()
            if task is None:
                yield from self._wait(machine)
                continue
            needed = seconds[task]
            if env.now + needed > machine.stops:
                yield from self._lose(machine, task)
                return
            yield env.timeout(needed)
            if fails and self._chance.random() < fails:
                self.failed += needed
                self._retry(task)
            else:
                self.useful += needed
                messages.delete()

    def _wait(self, machine: Machine) -> Generator[Event, None, None]:
        """Wait until a message may be there."""
        if not machine.waiting:
            machine.since = self._env.now
        machine.waiting += 1
        yield self._messages.wait()
        machine.waiting -= 1
        if not machine.waiting:
            self._count_polls(machine)
        if self._env.now >= machine.closes:
            self._messages.wake()  # this one is gone: let another one receive

    def _count_polls(self, machine: Machine) -> None:
        until = min(self._env.now, machine.closes)
        self.empty_polls += (until - machine.since) // self._assumed.poll_seconds

    def _lose(self, machine: Machine, task: int) -> Generator[Event, None, None]:
        """Work on a task until the machine cuts it off."""
        worked = machine.stops - self._env.now
        yield self._env.timeout(worked)
        self.cut += 1
        self.lost += worked
        if machine.gives_back:
            self._messages.give_back(task)
        else:
            lease = self._assumed.lease_seconds
            self._messages.hide(task, lease - worked % (lease / RENEWALS))

    def _retry(self, task: int) -> None:
        """Let a task that failed be done again after a pause that doubles with each attempt."""
        attempts = self._messages.attempts(task)
        pause = min(MAX_BACKOFF_SECONDS, self._assumed.backoff_seconds * 2 ** min(attempts - 1, 16))
        if attempts >= self._assumed.max_receives:
            self._messages.hide(task, 0)  # the next receive moves it to the dead letters
        elif pause < _LONG_WAIT_SECONDS:
            self._messages.hide(task, pause)
        else:
            self._messages.delay(task, pause)
