"""`simulate`: runs a job on paper, from the first machine to the last task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError
from producer.simulate.assumptions import Assumptions
from producer.simulate.durations import Seconds, like, log_normal
from producer.simulate.fleet import Fleet
from producer.simulate.interruptions import lives, rate_of
from producer.simulate.messages import Messages
from producer.simulate.result import Result

_MOST_LIVES = 7  # mean lives of a machine for one task: one in a thousand machines lives so long


def simulate(
    assumed: Assumptions,
    workers: int,
    interruptions: float = 0.0,
    records: Sequence[float] = (),
) -> Result:
    """Run a job on paper.

    interruptions: share of the machines that are lost in an hour.
    records: seconds of tasks of an earlier job, which are drawn from; without them, the tasks have
        the mean and the spread that are assumed.
    Raises ConfigError when SimPy is not installed, or machines are lost too fast for the tasks.
    """
    chance = np.random.default_rng(assumed.seed)
    if records:
        seconds = like(records, assumed.task_seconds, assumed.tasks, chance)
    else:
        assert assumed.task_seconds is not None
        mean, spread = assumed.task_seconds, assumed.task_spread
        seconds = log_normal(mean, spread, assumed.tasks, chance)
    _refuse_without_end(assumed, interruptions, float(seconds.max()))
    return run(assumed, workers, seconds, lives(interruptions, chance), interruptions)


def _refuse_without_end(assumed: Assumptions, interruptions: float, longest: float) -> None:
    """Raises ConfigError where hardly any machine lives long enough for the longest task."""
    needed = assumed.startup_seconds + longest
    if rate_of(interruptions) * needed > _MOST_LIVES:
        raise ConfigError.one(
            "simulate",
            "interruptions",
            f"with {interruptions:g} of the machines lost in an hour, hardly one lives for the "
            f"{needed:.0f} s of its start and the longest task: the job would not end",
            "use shorter tasks",
        )


def check_installed() -> Any:
    """The library of the simulation. Raises ConfigError, which says how to install it."""
    return needs("simpy", extra="simulate", by="simulate")


def run(
    assumed: Assumptions,
    workers: int,
    seconds: Seconds,
    lives: Iterator[float],
    interruptions: float = 0.0,
) -> Result:
    """The same with all that is drawn given.

    seconds: of each task. lives: from the launch of each machine to the notice of its end, in the
    order of their launches; there must be enough of them.
    """
    env = check_installed().Environment()
    messages = Messages(env, len(seconds), assumed.max_receives, assumed.in_flight_limit)
    chance = np.random.default_rng((assumed.seed, 1))
    fleet = Fleet(env, messages, assumed, lives, seconds, chance)
    fleet.start(workers)
    env.run(until=messages.ended)
    fleet.end()
    return Result(
        workers=workers,
        places=assumed.in_flight,
        interruptions=interruptions,
        tasks=len(seconds),
        done=messages.done,
        dead=messages.dead,
        received=messages.received,
        interrupted=sum(machine.notice <= env.now for machine in fleet.machines),
        cut=fleet.cut,
        makespan_seconds=env.now,
        machine_seconds=sum(machine.paid(env.now) for machine in fleet.machines),
        starting_seconds=sum(machine.starting(env.now) for machine in fleet.machines),
        useful_seconds=fleet.useful,
        lost_seconds=fleet.lost,
        failed_seconds=fleet.failed,
        tail_seconds=env.now - messages.dry_at,
        peak_in_flight=messages.peak,
        was_full=messages.was_full,
        empty_polls=int(fleet.empty_polls),
    )
