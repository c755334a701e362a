"""Scenario `slowdown`: S3 answers 503 SlowDown for one prefix.

S3 limits requests by prefix. So the info file and the ledger may answer while blocks do not, or the
reverse. Three jobs run at the same time, each with another driver: CloudVolume (precomputed),
tensorstore (Zarr) and single objects (files of mark-complete); and each has trouble with another
prefix: that of its output, its input or its ledger. No attempt is counted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chunkflow_worker.job.record import Record
from tests.chaos.drivers import DRIVERS, LOOK, Driver, DriverJob
from tests.chaos.report import Report, broken
from tests.support.aws_sqs import aws_sqs
from tests.support.s3_semantics import s3_semantics

PLACES = ("output", "input", "ledger")
TOLD = "does not answer, retrying"
COLUMNS = (
    "seed",
    "driver",
    "prefix of",
    "s",
    "requests refused",
    "tasks",
    "done",
    "most attempts",
    "dead letters",
    "lines about the outage",
    "with its cause",
    "output",
)
LONG = 120  # seconds, after which each driver has given its own retries up


@dataclass(frozen=True)
class Outcome:
    """What the job of one driver left. told: the lines about outages."""

    seed: int
    driver: Driver
    place: str
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
            "the outage is told once": len(self.told) == 1
            or (not self.told and self.seconds < LONG),
            "the outage is told with its cause": self.explained == len(self.told),
        }
        return [f"{promise} ({self.driver})" for promise in broken(promises)]

    def row(self) -> Sequence[object]:
        outages = (self.seed, self.driver, self.place, f"{self.seconds:.0f}", self.refused)
        tasks = (self.tasks, len(self.records), self.attempts, self.dead)
        output = "equal" if self.equal else "**differs**"
        return (*outages, *tasks, len(self.told), self.explained, output)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    tasks: int = 24,
    seconds: float = 300,
) -> Report:
    """seconds: of the outage. Three seeds give each driver trouble with each prefix."""
    upstream = aws["AWS_ENDPOINT_URL"]
    with aws_sqs() as sqs, ExitStack() as stack:
        jobs = []
        for number, driver in enumerate(DRIVERS):
            s3 = stack.enter_context(s3_semantics(upstream))
            bucket = f"slow-{uuid.uuid4().hex[:8]}"
            job = DriverJob(folder / driver, driver, bucket, aws | sqs.variables, s3, tasks)
            stack.callback(job.service.close)
            job.start_worker()
            jobs.append((job, PLACES[(number + seed) % len(PLACES)]))
        for job, place in jobs:
            job.service.wait_done(tasks // 4, 300, LOOK)
            job.s3.fail(f"/{job.bucket}/{job.prefixes()[place]}")
        threading.Event().wait(seconds)
        for job, _ in jobs:
            job.s3.heal()
        for job, _ in jobs:
            job.wait_until_done()
        outcomes = [_outcome(job, place, seed, seconds) for job, place in jobs]
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("slowdown", COLUMNS, [outcome.row() for outcome in outcomes], promises)


def _outcome(job: DriverJob, place: str, seed: int, seconds: float) -> Outcome:
    service = job.service
    done, _ = service.ledger.boxes()
    return Outcome(
        seed=seed,
        driver=job.driver,
        place=place,
        seconds=seconds,
        refused=job.s3.refused.total(),
        tasks=job.tasks,
        records=list(service.ledger.records(done)),
        dead=service.messages()[2],
        exited=sum(process.poll() is not None for process in service.workers),
        told=[line for line in service.lines() if TOLD in line],
        equal=job.is_equal(),
    )
