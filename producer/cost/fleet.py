"""`Fleet`: machine-hours, wall time and dollars for a number of machines, interruptions included.

The model of interruptions. AWS takes a spot machine back at random, at a rate of r per hour, so
that a share of 1 - exp(-r) of the machines goes in an hour. A task that a machine has begun starts
anew elsewhere, after R seconds for the replacement to start. The expected time to get work of
length L done is then

    (1/r + R) (exp(r L) - 1)

as A. Duda derived it for programs without checkpoints (Information Processing Letters 16, 1983, 221
to 229). L is how long a task is in flight: the seconds of a task times the tasks in flight.

Each machine is also paid for its start, and at the end, when the queue is empty, for half of the
time of a task, on average, while others finish. One machine runs one worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, expm1, log1p

from producer.cost.prices import Machine

_HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """What there is to do, for machines of speed 1. Times are seconds.

    seconds: of a worker for a task. in_flight: tasks of a worker. startup: of a machine, until its
    worker takes the first task.
    """

    tasks: int
    seconds: float
    in_flight: int = 2
    startup: float = 180.0


@dataclass(frozen=True)
class Fleet:
    """What machines of a kind take for a job.

    machines: number; never more than tasks. interruption_factor: time by which interruptions
    lengthen the work. interruptions: expected number. interruption_dollars: part of dollars.
    """

    machine: str
    market: str
    machines: int
    wall_seconds: float
    machine_hours: float
    dollars: float
    interruption_factor: float
    interruptions: float
    interruption_dollars: float


def interruptions_an_hour(share: float) -> float:
    """Of a machine, on average, if this share of the running machines is interrupted in an hour."""
    return -log1p(-share)


def interruption_factor(lasts: float, restart: float, share_an_hour: float) -> float:
    """Expected time of a task, with interruptions and what follows from them, by that without.

    lasts: seconds that a task is in flight. restart: seconds until a replacement works.
    share_an_hour: of the machines that are interrupted in an hour.
    """
    rate = interruptions_an_hour(share_an_hour) / _HOUR
    if rate <= 0 or lasts <= 0:
        return 1.0
    return (1 / rate + restart) * expm1(rate * lasts) / lasts


def fleet_of(work: Work, machine: Machine, machines: int, *, spot: bool, beside: float) -> Fleet:
    """beside: dollars per hour of a machine, in addition to its own price."""
    machines = max(1, min(machines, work.tasks))
    seconds = work.seconds / machine.speed
    lasts = seconds * work.in_flight
    share = machine.interruptions_an_hour if spot else 0.0
    factor = interruption_factor(lasts, work.startup, share)
    busy = work.tasks * seconds
    ends = machines * work.startup + (machines - 1) * lasts / 2
    hours = (busy * factor + ends) / _HOUR
    price = (machine.spot if spot else machine.on_demand) + beside
    rounds = ceil(work.tasks / machines)
    return Fleet(
        machine.name,
        "spot" if spot else "on demand",
        machines,
        work.startup + max(rounds * seconds, min(lasts, busy)) * factor,
        hours,
        hours * price,
        factor,
        interruptions_an_hour(share) * hours,
        busy * (factor - 1) / _HOUR * price,
    )
