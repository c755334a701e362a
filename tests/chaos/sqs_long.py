"""Scenario `sqs-long`: SQS is away for longer than the lease, several times.

It answers 503, closes connections or hangs, while tasks run that take longer than the lease. Each
task runs once, its record counts one attempt, and no message is dead. SQS is a stand-in that keeps
the rules of AWS for receipt handles: what was hidden for too long is delivered to other workers.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.record import Record
from tests.chaos.report import Report, broken
from tests.support.aws_sqs import AWAY, Fault, SqsServer, aws_sqs
from tests.support.service import BLOCK, Service

LEASE_SECONDS, MAX_RECEIVES = 5, 3
WORKERS, IN_FLIGHT = 2, 2
FAULTS: tuple[Fault, ...] = (AWAY, "close", "hang")
COLUMNS = (
    "seed",
    "tasks",
    "s per task",
    "outages of SQS",
    "of these, longer than the lease",
    "done",
    "task starts",
    "most attempts",
    "done more than once",
    "dead letters",
    "output",
    "lines about an outage, most per worker",
    "run",
)


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    outages: their lengths in seconds. starts: of tasks. again: boxes done more than once.
    told: lines about outages, by worker and by what did not answer.
    """

    seed: int
    tasks: int
    task_seconds: float
    outages: Sequence[float]
    records: Sequence[Record]
    starts: int
    again: int
    dead: int
    exited: int
    equal: bool
    told: Counter[tuple[int, str]]
    seconds: float

    @property
    def attempts(self) -> int:
        return max(record.attempts for record in self.records)

    @property
    def long(self) -> int:
        return sum(seconds > LEASE_SECONDS for seconds in self.outages)

    @property
    def most_told(self) -> int:
        return max(self.told.values(), default=0)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "each task runs once": self.starts == self.tasks and not self.again,
            "no outage costs an attempt": self.attempts == 1,
            "no message is dead": not self.dead,
            "the output is right": self.equal,
            "no worker exits": not self.exited,
            "an outage is told once": self.most_told <= len(self.outages),
            "outages were longer than the lease": self.long > 0,
        }
        return broken(promises)

    def row(self) -> Sequence[object]:
        job = (self.seed, self.tasks, f"{self.task_seconds:g}", len(self.outages), self.long)
        tasks = (len(self.records), self.starts, self.attempts, self.again, self.dead)
        output = "equal" if self.equal else "**differs**"
        return (*job, *tasks, output, self.most_told, f"{self.seconds:.0f} s")


def scenario(
    folder: Path, aws: dict[str, str], seed: int, tasks: int = 24, task_seconds: float = 20
) -> Report:
    """task_seconds: that each task takes at least."""
    with aws_sqs() as sqs:
        service = Service(folder, f"long-{uuid.uuid4().hex[:8]}", aws | sqs.variables)
        try:
            outcome = _run(service, sqs, seed, tasks, task_seconds)
        finally:
            sqs.clear()
            service.close()
    return Report("sqs-long", COLUMNS, [outcome.row()], outcome.broken())


def _run(service: Service, sqs: SqsServer, seed: int, tasks: int, task_seconds: float) -> Outcome:
    service.volumes(Vec3(1, 1, tasks) * BLOCK)
    service.chain({"op": "hold", "folder": str(service.root), "seconds": task_seconds})
    service.create_queue(visibility=LEASE_SECONDS, max_receives=MAX_RECEIVES)
    service.enqueue()
    for _ in range(WORKERS):
        service.start_worker(in_flight=IN_FLIGHT, metrics="none")
    service.wait(lambda: len(service.starts()) >= WORKERS * IN_FLIGHT, "all workers at work")
    began = time.monotonic()
    outages = _disturb(service, sqs, random.Random(seed), tasks, 60 + 10 * tasks * task_seconds)
    service.wait(lambda: service.messages()[:2] == (0, 0), "no message left", 120)
    seconds = time.monotonic() - began
    done, _, again, *_ = service.ledger.listing()
    return Outcome(
        seed=seed,
        tasks=tasks,
        task_seconds=task_seconds,
        outages=outages,
        records=list(service.ledger.records(done)),
        starts=len(service.starts()),
        again=len(again),
        dead=service.messages()[2],
        exited=sum(process.poll() is not None for process in service.workers),
        equal=np.array_equal(service.output_where_written(), service.input()),
        told=_told(service),
        seconds=seconds,
    )


def _disturb(
    service: Service, sqs: SqsServer, chance: random.Random, tasks: int, limit: float
) -> list[float]:
    """Make outages until all tasks have ended; returns the seconds of each."""
    outages: list[float] = []
    until = time.monotonic() + limit
    faults: list[Fault] = []
    while sum(map(len, service.ledger.boxes())) < tasks and time.monotonic() < until:
        faults = faults or chance.sample(FAULTS, len(FAULTS))
        sqs.set(faults.pop())
        outages.append(chance.uniform(0.5, 3) * LEASE_SECONDS)
        threading.Event().wait(outages[-1])
        sqs.clear()
        threading.Event().wait(chance.uniform(0.5, 1.5) * LEASE_SECONDS)
    return outages


def _told(service: Service) -> Counter[tuple[int, str]]:
    """Lines about an outage, by worker and by what does not answer."""
    found: Counter[tuple[int, str]] = Counter()
    for worker in range(len(service.workers)):
        for line in (service.root / f"worker-{worker}.log").read_text().splitlines():
            if "does not answer, retrying" in line:
                found[worker, line.split(" WARNING ", 1)[1].split(" does not", 1)[0]] += 1
    return found
