"""`hosts_of`: machines of a job: their workers, and whether they are slower than the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from producer.figures.workers import WorkerFigures

SLOW = 1.5
"""A host whose tasks take so many times those of all hosts is a straggler."""
_FEW = 5  # tasks, of which nothing follows


@dataclass(frozen=True)
class Host:
    """A machine, as the names of its workers tell it.

    first, last: of its workers, in seconds since 1970. seconds_a_task: that a worker was busy for
    each of its tasks. ratio: of this to the same of all hosts.
    """

    name: str
    workers: int
    tasks: int
    failed: int
    first: float
    last: float
    seconds_a_task: float
    ratio: float

    @property
    def is_slow(self) -> bool:
        return self.ratio > SLOW and self.tasks >= _FEW


def hosts_of(workers: Iterable[WorkerFigures]) -> tuple[Host, ...]:
    """The hosts, the slowest first."""
    by_host = defaultdict[str, list[WorkerFigures]](list)
    for worker in workers:
        by_host[worker.host].append(worker)
    every = [worker for of_host in by_host.values() for worker in of_host]
    usual = _seconds_a_task(every)
    found = [
        Host(
            name,
            len(of_host),
            sum(worker.tasks for worker in of_host),
            sum(worker.failed for worker in of_host),
            min(worker.first for worker in of_host),
            max(worker.last for worker in of_host),
            seconds := _seconds_a_task(of_host),
            seconds / usual if usual else 0.0,
        )
        for name, of_host in by_host.items()
    ]
    return tuple(sorted(found, key=lambda host: (-host.ratio, host.name)))


def _seconds_a_task(workers: list[WorkerFigures]) -> float:
    tasks = sum(worker.tasks + worker.failed for worker in workers)
    return sum(worker.busy for worker in workers) / tasks if tasks else 0.0
