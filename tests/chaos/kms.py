"""Scenario `kms`: a bucket whose objects are encrypted so that their ETags are no MD5s.

So it is with SSE-KMS, DSSE-KMS and SSE-C. Everything goes through it: the volumes are made, the job
is sent, done, looked at and verified. Jobs write through each of the drivers.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from chunkflow_worker.job.record import Record
from producer.cli import main
from tests.chaos.drivers import DRIVERS, Driver, DriverJob
from tests.chaos.report import Report, broken
from tests.chaos.verified import Verified, verify
from tests.support.aws_sqs import aws_sqs
from tests.support.run_command import run_command
from tests.support.s3_semantics import ENCRYPTED, s3_semantics
from tests.support.service import BLOCK

COLUMNS = (
    "seed",
    "encryption",
    "driver",
    "tasks",
    "done",
    "most attempts",
    "dead letters",
    "output",
    "status ends with",
    "verify finds wrong",
    "verify --quick finds wrong",
    "enqueue --skip-done ends with",
)


@dataclass(frozen=True)
class Outcome:
    """What the job of one driver left. status, again: with what these commands ended."""

    seed: int
    encryption: str
    driver: Driver
    tasks: int
    records: Sequence[Record]
    dead: int
    exited: int
    equal: bool
    status: int
    verified: Verified
    quick: Verified
    again: int

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every task is done": len(self.records) == self.tasks,
            "the output is right": self.equal,
            "no task is tried twice": all(record.attempts == 1 for record in self.records),
            "no message is dead": not self.dead,
            "no worker exits": not self.exited,
            "commands of the producer work": self.status == self.again == 0,
            "verify finds nothing wrong": not self.verified.wrong | self.quick.wrong,
        }
        return [f"{promise} ({self.driver})" for promise in broken(promises)]

    def row(self) -> Sequence[object]:
        output = "equal" if self.equal else "**differs**"
        attempts = max((record.attempts for record in self.records), default=0)
        job = (self.seed, self.encryption, self.driver, self.tasks, len(self.records), attempts)
        wrong = (len(self.verified.wrong), len(self.quick.wrong))
        return (*job, self.dead, output, self.status, *wrong, self.again)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    drivers: Sequence[Driver] = DRIVERS,
    tasks: int = 24,
) -> Report:
    outcomes = []
    encryption = list(ENCRYPTED)[seed % len(ENCRYPTED)]
    for driver in drivers:
        with aws_sqs() as sqs, s3_semantics(aws["AWS_ENDPOINT_URL"]) as s3, ExitStack() as stack:
            bucket = f"kms-{uuid.uuid4().hex[:8]}"
            s3.encryption[bucket] = encryption
            address = {"AWS_ENDPOINT_URL": s3.url}
            stack.enter_context(patch.dict(os.environ, address))
            variables = aws | sqs.variables | address
            job = DriverJob(folder / driver, driver, bucket, variables, s3, tasks, task_seconds=0)
            stack.callback(job.service.close)
            outcomes.append(_run(job, seed, encryption))
    promises = [promise for outcome in outcomes for promise in outcome.broken()]
    return Report("kms", COLUMNS, [outcome.row() for outcome in outcomes], promises)


def _run(job: DriverJob, seed: int, encryption: str) -> Outcome:
    service = job.service
    job.start_worker()
    job.wait_until_done()
    done, _ = service.ledger.boxes()
    grid = ("-v", service.path("in"), "-c", *map(str, BLOCK))
    return Outcome(
        seed=seed,
        encryption=encryption,
        driver=job.driver,
        tasks=job.tasks,
        records=list(service.ledger.records(done)),
        dead=service.messages()[2],
        exited=sum(process.poll() is not None for process in service.workers),
        equal=job.is_equal(),
        status=_status(job, "status"),
        verified=verify(service),
        quick=verify(service, "--quick"),
        again=_status(job, "enqueue", "--skip-done", "--trust-records", "--dry-run", *grid),
    )


def _status(job: DriverJob, command: str, *options: str) -> int:
    """With what a command of the producer ends."""
    service = job.service
    words = (command, "--queue", service.queue, "--pipeline", str(service.pipeline), *options)
    return run_command(main, *words, environment=service.environment).status
