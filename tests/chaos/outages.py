"""SQS, S3 and CloudWatch away in the middle of a job: it completes, nothing is dead, no worker exits, the log stays short.

The volumes lie on S3. CloudWatch hangs from the first to the last moment of every case; one case has that alone.
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
from tests.chaos.report import Report
from tests.support.proxy import Fault, Proxy, fault_proxy
from tests.support.proxy import Service as Name
from tests.support.service import BLOCK, Service

WORKERS, IN_FLIGHT = 2, 2
LOOK = 0.5  # seconds between two looks at the ledger, so that looking does not load the local S3


@dataclass(frozen=True)
class Case:
    """service: which one is away besides CloudWatch, and for how many seconds."""

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
    "away", "how", "s", "tasks", "done", "done more than once", "most attempts", "dead letters", "workers that exited",
    "lines that tell the outage", "warnings in all", "CloudWatch requests that hung",
)  # fmt: skip


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    cases: Sequence[Case] = FULL,
    tasks: int = 200,
    hold_seconds: float = 0.5,
) -> Report:
    """hold_seconds: that each task takes at least."""
    rows = []
    kept = True
    for number, case in enumerate(cases):
        place = folder / f"case-{number}"
        place.mkdir()
        with fault_proxy(aws["AWS_ENDPOINT_URL"], seed) as (address, proxy):
            row, holds = run(
                case, place, aws | {"AWS_ENDPOINT_URL": address}, proxy, tasks, hold_seconds
            )
        rows.append(row)
        kept &= holds
    return Report("outages", COLUMNS, rows, kept)


def run(
    case: Case,
    folder: Path,
    behind_proxy: dict[str, str],
    proxy: Proxy,
    tasks: int,
    hold_seconds: float,
) -> tuple[Sequence[object], bool]:
    """One job; its row, and whether all promises were kept."""
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
        exited = sum(process.poll() is not None for process in service.workers)
        dead = service.messages()[2]
        done, _, again = service.ledger.listing()
        records = list(service.ledger.records(done))
        right = np.array_equal(service.output(), service.input())
        lines = [
            line
            for log in sorted(folder.glob("worker-*.log"))
            for line in log.read_text().splitlines()
        ]
    finally:
        service.close()
    told = Counter(
        line.split(" WARNING ", 1)[1].split(" does not", 1)[0]
        for line in lines
        if "does not answer, retrying" in line
    )
    cloudwatch = told.pop("CloudWatch", 0)
    warnings = sum(" WARNING " in line or " ERROR " in line for line in lines)
    attempts = max(record.attempts for record in records)
    row = (
        case.service or "CloudWatch alone", case.fault, f"{case.seconds:.0f}",
        tasks, len(done), len(again), attempts, dead, exited,
        sum(told.values()), warnings, proxy.faults["monitoring"],
    )  # fmt: skip
    holds = (
        right and len(done) == tasks and not dead and not exited and "Traceback" not in "\n".join(lines)
        and proxy.faults["monitoring"] > 0 and cloudwatch <= WORKERS
        and all(count <= WORKERS for count in told.values())
        and warnings <= WORKERS * (6 + 4 * IN_FLIGHT)
        and (case.service == "sqs" or (attempts == 1 and not again))
        and (case.service is not None or not (told or any(n > 1 for n in Counter(service.starts()).values())))
    )  # fmt: skip
    return row, holds
