"""`Dollars`: machine-hours and dollars that a job took, by its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.cost.fleet import interruptions_an_hour
from producer.figures.hosts import Host

if TYPE_CHECKING:
    from producer.cost.prices import Machine, Prices
    from producer.figures.tasks import TaskFigures
    from producer.figures.workers import WorkerFigures

_HOUR = 3600.0


@dataclass(frozen=True)
class Dollars:
    """What the machines of a job cost, in US dollars; storage and requests are not in it.

    an_hour: of a machine, with what it has beside itself.
    machine_hours: from the first task of each host to its last.
    a_gigavoxel: of the output; None without output.
    lost: part of `machines` that attempts cost which left nothing.
    interruptions: that spot machines of this kind have in so many hours, by the price table.
    """

    machine: str
    market: str
    an_hour: float
    machine_hours: float
    machines: float
    a_gigavoxel: float | None
    lost: float
    interruptions: float
    prices: str


def machine_hours(hosts: Sequence[Host]) -> float:
    """From the first task of each host to its last."""
    return sum(host.last - host.first for host in hosts) / _HOUR


def lost_hours(tasks: TaskFigures, workers: Sequence[WorkerFigures]) -> float:
    """Hours of workers that went into attempts which left nothing.

    Tasks overlap in a worker, so an hour of a task is less than an hour of a worker.
    """
    seconds = sum(worker.task_seconds for worker in workers)
    busy = sum(worker.busy for worker in workers)
    return tasks.lost_seconds * (busy / seconds if seconds else 0.0) / _HOUR


def dollars_of(
    prices: Prices,
    machine: Machine,
    hosts: Sequence[Host],
    tasks: TaskFigures,
    workers: Sequence[WorkerFigures],
    *,
    spot: bool,
) -> Dollars:
    hours = machine_hours(hosts)
    an_hour = prices.an_hour(machine, spot=spot)
    present = sum(worker.there for worker in workers) / _HOUR
    a_worker = hours / present if present else 0.0  # machines by worker
    return Dollars(
        machine.name,
        "spot" if spot else "on demand",
        an_hour,
        hours,
        hours * an_hour,
        hours * an_hour / (tasks.voxels / 1e9) if tasks.voxels else None,
        min(hours, lost_hours(tasks, workers) * a_worker) * an_hour,
        interruptions_an_hour(machine.interruptions_an_hour) * hours if spot else 0.0,
        f"{prices.region}, {prices.date}",
    )
