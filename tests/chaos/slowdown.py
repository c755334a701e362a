"""Scenario `slowdown`: S3 answers 503 SlowDown for one prefix at a time.

S3 limits requests by prefix. So the info file and the ledger may answer while blocks do not, or the
reverse. Three jobs run at the same time, each with another driver: CloudVolume (precomputed),
tensorstore (Zarr) and single objects (files of mark-complete). No attempt is counted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_worker.job.ledger import Record
from tests.chaos.drivers import DRIVERS, LOOK, Driver, DriverJob
from tests.chaos.report import Report, broken
from tests.support.aws_sqs import aws_sqs
from tests.support.s3_semantics import s3_semantics

PLACES = ("output", "input", "ledger")
TOLD = "does not answer, retrying"
COLUMNS = (
    "seed",
    "driver",
    "prefixes",
    "s each",
    "requests refused",
    "tasks",
    "done",
    "most attempts",
    "dead letters",
    "outages told",
    "with their cause",
    "output",
)
LONG = 120  # seconds, after which each driver has given its own retries up


@dataclass(frozen=True)
class Outcome:
    """What the job of one driver left. told: the lines about outages."""

    seed: int
    driver: Driver
    seconds: float
    refused: int
    tasks: int
    records: Sequence[Record]
    dead: int
    exited: int
    told: Sequence[str]
    equal: bool

    @property
    def attempts(self) -> int:
        return max(record.attempts for record in self.records)

    @property
    def explained(self) -> int:
        """Lines with their cause. The answer to a HEAD request has a status and no body."""
        return sum("SlowDown" in line or "503" in line for line in self.told)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "the output is right": self.equal,
            "no attempt is counted": self.attempts == 1,
            "no message is dead": not self.dead,
            "no worker exits": not self.exited,
            "an outage is told once": len(self.told) <= len(PLACES),
            "each long outage is told": len(self.told) == len(PLACES) or self.seconds < LONG,
            "an outage is told with its cause": self.explained == len(self.told),
        }
        return [f"{promise} ({self.driver})" for promise in broken(promises)]

    def row(self) -> Sequence[object]:
        outages = (self.seed, self.driver, ", ".join(PLACES), f"{self.seconds:.0f}", self.refused)
        tasks = (self.tasks, len(self.records), self.attempts, self.dead)
        output = "equal" if self.equal else "**differs**"
        return (*outages, *tasks, len(self.told), self.explained, output)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    drivers: Sequence[Driver] = DRIVERS,
    tasks: int = 80,
    seconds: float = 300,
) -> Report:
    """seconds: of each outage."""
    upstream = aws["AWS_ENDPOINT_URL"]
    with aws_sqs() as sqs, ExitStack() as stack:
        jobs = []
        for driver in drivers:
            s3 = stack.enter_context(s3_semantics(upstream))
            bucket = f"slow-{uuid.uuid4().hex[:8]}"
            job = DriverJob(folder / driver, driver, bucket, aws | sqs.variables, s3, tasks)
            stack.callback(job.service.close)
            job.start_worker()
            jobs.append(job)
        for number, place in enumerate(np.random.default_rng(seed).permutation(PLACES)):
            for job in jobs:
                job.service.wait_done(number * tasks // 4 + 1, 300, LOOK)
                _slow_down(job, str(place))
            threading.Event().wait(seconds)
            for job in jobs:
                job.s3.heal()
        for job in jobs:
            job.wait_until_done()
        outcomes = [_outcome(job, seed, seconds) for job in jobs]
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("slowdown", COLUMNS, [outcome.row() for outcome in outcomes], promises)


def _slow_down(job: DriverJob, place: str) -> None:
    for prefix in job.prefixes()[place]:
        job.s3.fail(f"/{job.bucket}/{prefix}")


def _outcome(job: DriverJob, seed: int, seconds: float) -> Outcome:
    service = job.service
    done, _ = service.ledger.boxes()
    return Outcome(
        seed=seed,
        driver=job.driver,
        seconds=seconds,
        refused=job.s3.refused.total(),
        tasks=job.tasks,
        records=list(service.ledger.records(done)),
        dead=service.messages()[2],
        exited=sum(process.poll() is not None for process in service.workers),
        told=[line for line in service.lines() if TOLD in line],
        equal=job.is_equal(),
    )
