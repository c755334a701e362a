"""A disk that is full or read-only in mid-job, and credentials that expire: told clearly, nothing half-written, nothing lost.

The disk is a small tmpfs, for which root must be allowed to mount; without that, the two cases on it raise NoMount. The output
and its ledger lie on it. Expired credentials are what the proxy answers (403 ExpiredToken) while the volumes lie on S3.
"""

from __future__ import annotations

import gzip
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import boto3
import numpy as np

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.report import Report
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
    "fault", "tasks", "done when it was told", "s until the repair", "half-written blocks", "most attempts", "dead letters",
    "done in the end", "told as",
)  # fmt: skip
LOOK = 0.2


def scenario(
    folder: Path,
    aws: dict[str, str],
    seed: int,
    cases: Sequence[Case] = FULL,
    tasks: int = 120,
    seconds: float = 60,
) -> Report:
    """seconds: from when the fault was told to the repair. Raises NoMount."""
    rows = []
    kept = True
    for case in cases:
        place = folder / case.replace(" ", "-")
        place.mkdir()
        row, holds = run(case, place, aws, tasks, seconds)
        rows.append(row)
        kept &= holds
    return Report("disk", COLUMNS, rows, kept)


def run(
    case: Case, folder: Path, aws: dict[str, str], tasks: int, seconds: float
) -> tuple[Sequence[object], bool]:
    """One job; its row, and whether all promises were kept."""
    service = Service(folder, f"disk-{uuid.uuid4().hex[:8]}", {})
    with fault(case, service, aws, tasks) as (spoil, repair):
        try:
            box = service.volumes(Vec3(1, 1, tasks) * BLOCK)
            service.chain({"op": "hold", "folder": str(folder), "seconds": 0.1})
            service.create_queue(visibility=5)
            service.enqueue()
            spoil_at = tasks // 4
            service.start_worker(in_flight=4, metrics="none")
            service.wait_done(spoil_at, 120, LOOK)
            spoil()
            service.wait(
                lambda: "does not answer, retrying" in service.logs(), f"{case} told", 180, LOOK
            )
            done_then = len(service.ledger.boxes()[0])
            threading.Event().wait(seconds)
            torn = half_written(folder)
            dead_then = service.messages()[2]
            repair()
            service.wait_done(tasks, 300, LOOK)
            service.wait(lambda: service.messages() == (0, 0, 0), "no message left", 60)
            torn += half_written(folder)
            right = np.array_equal(service.output(), service.input())
            done, failed = service.ledger.boxes()
            records = list(service.ledger.records(done))
            lived = all(process.poll() is None for process in service.workers)
            lines = [
                line for log in folder.glob("worker-*.log") for line in log.read_text().splitlines()
            ]
        finally:
            service.close()
    told = next(line for line in lines if "does not answer, retrying" in line).split(
        " WARNING ", 1
    )[1]
    attempts = max(record.attempts for record in records)
    subject = (
        service.queue
        if case.endswith("SQS")
        else service.path("out")
        if "disk" in case
        else service.place
    )
    free = attempts == 1 or case.endswith(
        "SQS"
    )  # a lease that can't be renewed ends, and that is a receive
    holds = (
        right and lived and free and not (torn or dead_then or failed) and len(done) == tasks and box.voxels > 0
        and subject in told and "Traceback" not in "\n".join(lines)
    )  # fmt: skip
    shown = told.replace(str(folder), "").replace(service.queue, "queue")
    return (
        case,
        tasks,
        done_then,
        f"{seconds:.0f}",
        len(torn),
        attempts,
        dead_then,
        len(done),
        shown,
    ), holds


@contextmanager
def fault(
    case: Case, service: Service, aws: dict[str, str], tasks: int
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Prepares the place of the volumes; yields what spoils it and what repairs it."""
    if case.startswith("expired"):
        bucket = service.queue
        boto3.client("s3").create_bucket(Bucket=bucket)
        service.place = f"s3://{bucket}"
        with fault_proxy(aws["AWS_ENDPOINT_URL"]) as (address, proxy):
            name: Name = "s3" if case.endswith("S3") else "sqs"
            service.environment["AWS_ENDPOINT_URL"] = address
            yield partial(proxy.set, name, "403"), proxy.clear
    else:
        megabytes = 2 + tasks * BLOCK.z * BLOCK.y * BLOCK.x * 1.1 / 2**20
        with small_disk(service.root / "out", int(megabytes)) as disk:
            if case == "full disk":
                yield partial(disk.fill, leave=40_000), disk.free
            else:
                yield partial(disk.read_only, True), partial(disk.read_only, False)


def half_written(folder: Path) -> list[str]:
    """Block files that hold less than a block, and parts of files."""
    found = [str(file) for file in folder.rglob("*.part")]
    for file in (folder / "out").glob("*_*_*/*.gz"):
        try:
            whole = len(gzip.decompress(file.read_bytes())) == BLOCK.z * BLOCK.y * BLOCK.x
        except (EOFError, OSError):
            whole = False
        if not whole:
            found.append(str(file))
    return found
