"""Scenario `outages`: SQS, S3 or CloudWatch is away in the middle of a job.

The job completes, no message is dead, no worker exits, and the log stays short. The volumes are on
S3. CloudWatch hangs all the time in every case; in one case nothing else is away.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.record import Record
from tests.chaos.report import Report, broken
from tests.support.proxy import Fault, Proxy, fault_proxy
from tests.support.proxy import Service as Name
from tests.support.service import BLOCK, Service

WORKERS, IN_FLIGHT = 2, 2
MOST_WARNINGS = WORKERS * (6 + 4 * IN_FLIGHT)
LOOK = 0.5  # seconds between two looks at the ledger; each look loads the local S3


@dataclass(frozen=True)
class Case:
    """service: the one that is away besides CloudWatch. seconds: for how long."""

    service: Name | None
    fault: Fault
    seconds: float


FULL = (
    Case(None, "hang", 0),
    Case("sqs", "close", 60),
    Case("sqs", "503", 60),
    Case("s3", "close", 60),
    Case("s3", "503", 60),
    Case("s3", "close", 300),
)
COLUMNS = (
    "away",
    "how",
    "s",
    "tasks",
    "done",
    "done more than once",
    "most attempts",
    "dead letters",
    "workers that exited",
    "lines about the outage",
    "warnings in all",
    "CloudWatch requests that hung",
)


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    again: boxes done more than once. equal: the output is the input. hung: CloudWatch requests.
    """

    case: Case
    tasks: int
    records: Sequence[Record]
    again: Sequence[str]
    starts: Sequence[str]
    dead: int
    exited: int
    equal: bool
    hung: int
    lines: Sequence[str]

    @property
    def reported(self) -> Counter[str]:
        """Log lines about an outage, by what is away."""
        return Counter(
            line.split(" WARNING ", 1)[1].split(" does not", 1)[0]
            for line in self.lines
            if "does not answer, retrying" in line
        )

    @property
    def outage_lines(self) -> int:
        return self.reported.total() - self.reported["CloudWatch"]

    @property
    def warnings(self) -> int:
        return sum(" WARNING " in line or " ERROR " in line for line in self.lines)

    @property
    def attempts(self) -> int:
        return max(record.attempts for record in self.records)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "the output is right": self.equal,
            "no message is dead": not self.dead,
            "no worker exits": not self.exited,
            "no traceback is logged": not any("Traceback" in line for line in self.lines),
            "CloudWatch hangs": self.hung > 0,
            "a worker reports an outage once": max(self.reported.values(), default=0) <= WORKERS,
            "the log stays short": self.warnings <= MOST_WARNINGS,
        }
        if self.case.service != "sqs":  # without SQS, leases expire
            promises["no task is tried twice"] = self.attempts == 1 and not self.again
        if self.case.service is None:
            promises["nothing else is reported away"] = not self.outage_lines
            promises["no task starts twice"] = len(set(self.starts)) == len(self.starts)
        return broken(promises)

    def row(self) -> Sequence[object]:
        away = (self.case.service or "CloudWatch alone", self.case.fault)
        tasks = (self.tasks, len(self.records), len(self.again), self.attempts)
        log = (self.outage_lines, self.warnings, self.hung)
        return (*away, f"{self.case.seconds:.0f}", *tasks, self.dead, self.exited, *log)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    cases: Sequence[Case] = FULL,
    tasks: int = 200,
    hold_seconds: float = 0.5,
) -> Report:
    """hold_seconds: that each task takes at least."""
    outcomes = []
    for number, case in enumerate(cases):
        place = folder / f"case-{number}"
        place.mkdir()
        with fault_proxy(aws["AWS_ENDPOINT_URL"], seed) as (address, proxy):
            behind_proxy = aws | {"AWS_ENDPOINT_URL": address}
            outcomes.append(run(case, place, behind_proxy, proxy, tasks, hold_seconds))
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("outages", COLUMNS, [outcome.row() for outcome in outcomes], promises)


def run(
    case: Case,
    folder: Path,
    behind_proxy: dict[str, str],
    proxy: Proxy,
    tasks: int,
    hold_seconds: float,
) -> Outcome:
    """Do one job, with an outage after some of its tasks."""
    name = f"outage-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    service = Service(folder, name, {})
    service.place = f"s3://{name}"
    try:
        service.volumes(Vec3(1, 1, tasks) * BLOCK)
        service.chain({"op": "hold", "folder": str(folder), "seconds": hold_seconds})
        service.create_queue(visibility=10)
        service.enqueue()
        service.environment |= behind_proxy
        proxy.set("monitoring", "hang")
        for _ in range(WORKERS):
            service.start_worker(in_flight=IN_FLIGHT, backoff_seconds=1)
        service.wait_done(min(tasks // 4, 20), 120, LOOK)
        if case.service is not None:
            proxy.set(case.service, case.fault)
            threading.Event().wait(case.seconds)
            proxy.clear(case.service)
        service.wait_done(tasks, 400, LOOK)
        service.wait(lambda: service.messages() == (0, 0, 0), "no message left", 60)
        # Workers send metrics every few seconds, and a short job may end before the first time.
        service.wait(lambda: proxy.faults["monitoring"], "a CloudWatch request that hangs", 30)
        done, _, again, _ = service.ledger.listing()
        return Outcome(
            case=case,
            tasks=tasks,
            records=list(service.ledger.records(done)),
            again=sorted(again),
            starts=service.starts(),
            dead=service.messages()[2],
            exited=sum(process.poll() is not None for process in service.workers),
            equal=np.array_equal(service.output(), service.input()),
            hung=proxy.faults["monitoring"],
            lines=service.lines(),
        )
    finally:
        service.close()
