"""Scenario `disk`: a disk is full or read-only in the middle of a job, or credentials expire.

The fault is reported, no block is half written, and nothing is lost. The output and the ledger are
on a small tmpfs, which only root may mount; elsewhere the two cases with it raise NoMount.
Credentials expire by the answers of the proxy (403 ExpiredToken); the volumes are on S3 then.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.calm import place_on_s3
from tests.chaos.report import Report, broken
from tests.support.proxy import Service as Name
from tests.support.proxy import fault_proxy
from tests.support.service import BLOCK, Service
from tests.support.small_disk import small_disk

Case = Literal[
    "full disk", "read-only disk", "expired credentials of S3", "expired credentials of SQS"
]
FULL: tuple[Case, ...] = (
    "full disk",
    "read-only disk",
    "expired credentials of S3",
    "expired credentials of SQS",
)
COLUMNS = (
    "fault",
    "tasks",
    "done when it was reported",
    "s until the repair",
    "half-written blocks",
    "most attempts",
    "dead letters",
    "done in the end",
    "reported as",
)
REPORTED = "does not answer, retrying"
BLOCK_BYTES = BLOCK.z * BLOCK.y * BLOCK.x
LOOK = 0.2  # seconds between two looks at the ledger
Act = Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """What one job left.

    done_then, dead_then: tasks and dead letters when the fault was reported.
    torn: files that hold less than a block, before and after the repair.
    reported: the first log line about the fault. subject: what this line must name.
    """

    case: Case
    tasks: int
    seconds: float
    done_then: int
    dead_then: int
    done: int
    failed: int
    attempts: int
    torn: Sequence[str]
    equal: bool
    exited: int
    reported: str
    subject: str
    tracebacks: int

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        # A lease that cannot be renewed expires, and the next receive is another attempt.
        may_repeat = self.case.endswith("SQS")
        promises = {
            "every task is done": self.done == self.tasks and not self.failed,
            "the output is right": self.equal,
            "no block is half written": not self.torn,
            "no message is dead": not self.dead_then,
            "no worker exits": not self.exited,
            "no task is tried twice": self.attempts == 1 or may_repeat,
            "the report names what fails": self.subject in self.reported,
            "no traceback is logged": not self.tracebacks,
        }
        return broken(promises)

    def row(self) -> Sequence[object]:
        then = (self.done_then, f"{self.seconds:.0f}", len(self.torn), self.attempts)
        return (self.case, self.tasks, *then, self.dead_then, self.done, self.reported)


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    cases: Sequence[Case] = FULL,
    tasks: int = 120,
    seconds: float = 60,
) -> Report:
    """seconds: from the report of the fault to the repair. Raises NoMount."""
    rows, promises = [], []
    for case in cases:
        place = folder / case.replace(" ", "-")
        place.mkdir()
        outcome, row = run(case, place, aws, tasks, seconds)
        rows.append(row)
        promises += outcome.broken()
    return Report("disk", COLUMNS, rows, promises)


def run(
    case: Case, folder: Path, aws: dict[str, str], tasks: int, seconds: float
) -> tuple[Outcome, Sequence[object]]:
    """Do one job, with the fault after some of its tasks; returns also its row of the table."""
    service = Service(folder, f"disk-{uuid.uuid4().hex[:8]}", {})
    with fault(case, service, aws, tasks) as (spoil, repair):
        try:
            service.volumes(Vec3(1, 1, tasks) * BLOCK)
            service.chain({"op": "hold", "folder": str(folder), "seconds": 0.1})
            service.create_queue(visibility=5)
            service.enqueue()
            service.start_worker(in_flight=4, metrics="none")
            service.wait_done(tasks // 4, 120, LOOK)
            spoil()
            service.wait(lambda: REPORTED in service.logs(), f"{case} reported", 180, LOOK)
            done_then = len(service.ledger.boxes()[0])
            threading.Event().wait(seconds)
            torn, dead_then = half_written(folder), service.messages()[2]
            repair()
            service.wait_done(tasks, 300, LOOK)
            service.wait(lambda: service.messages() == (0, 0, 0), "no message left", 60)
            done, failed = service.ledger.boxes()
            lines = service.lines()
            report = next(line for line in lines if REPORTED in line)
            outcome = Outcome(
                case=case,
                tasks=tasks,
                seconds=seconds,
                done_then=done_then,
                dead_then=dead_then,
                done=len(done),
                failed=len(failed),
                attempts=max(record.attempts for record in service.ledger.records(done)),
                torn=torn + half_written(folder),
                equal=np.array_equal(service.output(), service.input()),
                exited=sum(process.poll() is not None for process in service.workers),
                reported=report.split(" WARNING ", 1)[1],
                subject=_subject(case, service),
                tracebacks=sum("Traceback" in line for line in lines),
            )
        finally:
            service.close()
    *row, reported = outcome.row()
    shown = str(reported).replace(str(folder), "").replace(service.queue, "queue")
    return outcome, (*row, shown)


def _subject(case: Case, service: Service) -> str:
    if case.endswith("SQS"):
        return service.queue
    return service.path("out").removeprefix("file://") if case.endswith("disk") else service.place


@contextmanager
def fault(
    case: Case, service: Service, aws: dict[str, str], tasks: int
) -> Iterator[tuple[Act, Act]]:
    """Prepare the place of the volumes; yields what spoils it, and what repairs it."""
    if case.startswith("expired"):
        place_on_s3(service, service.queue)
        with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
            name: Name = "s3" if case.endswith("S3") else "sqs"
            service.environment["AWS_ENDPOINT_URL"] = address
            yield partial(proxy.set, name, "403"), proxy.clear
        return
    megabytes = 2 + tasks * BLOCK_BYTES * 1.1 / 2**20
    with small_disk(service.root / "out", int(megabytes)) as disk:
        if case == "full disk":
            yield partial(disk.fill, leave=40_000), disk.free
        else:
            yield partial(disk.read_only, True), partial(disk.read_only, False)


def half_written(folder: Path) -> list[str]:
    """Files with less than a block, and parts of files."""
    parts = list(folder.rglob("*.part"))
    blocks = (folder / "out").glob("*_*_*/*_*_*")
    torn = [block for block in blocks if block.stat().st_size != BLOCK_BYTES]
    return [str(file) for file in (*parts, *torn)]
