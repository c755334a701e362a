"""The requests of a task, counted at SQS, S3 and CloudWatch; docs/service.md has the table."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import yaml

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.heartbeat import Heartbeat, Heartbeats
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.requests import REQUESTS
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.report import cloudwatch
from chunkflow_worker.service import worker as worker_module
from chunkflow_worker.service.places import Places
from chunkflow_worker.service.poller import Poller
from chunkflow_worker.service.worker import Worker
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from tests.support.paths import ROOT
from tests.support.queues import send
from tests.support.s3_semantics import S3Semantics

BLOCK = Vec3(4, 8, 8)
BOX = BLOCK * Vec3(1, 2, 2)
BLOCKS, TASKS = 4, 3  # blocks of a task, and tasks that are counted

HEARTBEATS = "log/workers/"

Row = tuple[str, str, str]
"""Service, request, and what there is one of."""


class Metrics:
    """Stands for boto3's client of CloudWatch."""

    def __init__(self) -> None:
        self.requests = 0

    def put_metric_data(self, **_: Any) -> None:
        self.requests += 1


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    made = Metrics()
    monkeypatch.setattr(cloudwatch, "make_client", lambda region: made)
    return made


@pytest.fixture
def poller(sqs: StubSqs, queue: Queue) -> Iterator[Poller]:
    made = Poller(
        Inbox(sqs, sqs, queue, 1, visibility_seconds=30, clock=sqs.clock),
        Places(1),
        clock=sqs.clock,
    )
    yield made
    made.close()


@pytest.fixture
def worker(
    real_s3: S3Semantics,
    metrics: Metrics,
    unique_name: str,
    sqs: StubSqs,
    poller: Poller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Worker]:
    """A worker that copies a volume of S3, and has done a task of its job."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    grid = Grid(roi_start=Vec3(0, 0, 0), chunk_size=BOX, grid_size=Vec3(1, 1, TASKS + 1))
    boxes = grid.boxes()
    bounds = BoundingBox(boxes[0].start, boxes[-1].stop)
    place = f"s3://{unique_name}"
    for name in ("in", "out"):
        create_volume(
            f"{place}/{name}", bounds=bounds, voxel_size=(4, 4, 4), block_size=BLOCK, dtype="uint8"
        )
    open_volume(f"{place}/in").write(bounds, np.ones(bounds.size, np.uint8))
    chain = [
        {"op": "load-volume", "volume_path": f"{place}/in"},
        {"op": "save-volume", "volume_path": f"{place}/out"},
    ]
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(yaml.safe_dump({"operators": chain}))
    monkeypatch.setattr(worker_module, "make_client", lambda *_, **__: sqs)
    # Longer than the test: its heartbeat is the first one.
    settings = Settings(spot_notice=False, health_folder=str(tmp_path), heartbeat_seconds=3600)
    made = Worker(settings, {"": Pipeline.load(pipeline)}, poller, clock=sqs.clock)
    job = JobRecord(job="job", queue="q", tasks=len(boxes), grid=grid.model_dump(mode="json"))
    made.ledger.write_job(job)
    beaten, write = threading.Event(), Heartbeats.write

    def write_and_tell(self: Heartbeats, heartbeat: Heartbeat) -> None:
        write(self, heartbeat)
        beaten.set()

    monkeypatch.setattr(Heartbeats, "write", write_and_tell)
    made.open()
    for box in boxes:
        send(sqs, poller.queue, str(box), task_id=str(box))
    do_next(made)
    assert beaten.wait(20)
    assert made._heart is not None
    made._heart.close()  # the delete is of no task
    yield made
    made._ending.set()
    made.close()


def do_next(worker: Worker) -> None:
    """Receive a message and do its task, as Celery does."""
    (message,) = worker.poller._fill_places()
    assert worker.poller.take(message)
    worker.run(message["Delivery"])


def sent_to_sqs(calls: list[tuple[str, Any]]) -> Iterator[Row]:
    """The requests of calls of boto3's methods."""
    for name, _ in calls:
        yield "SQS", "".join(map(str.capitalize, name.split("_"))), "task"


def sent_to_s3(requests: Counter[str]) -> Iterator[Row]:
    for request in requests.elements():
        method, _, path = request.partition(" ")
        key = path.lstrip("/").partition("/")[2]
        unit = "task"
        if re.fullmatch(r"(in|out)/4_4_4/.+", key):
            unit = "block that is read" if key.startswith("in") else "block that is written"
        yield "S3", method if key else "LIST", unit


def test_the_table_of_requests_is_right(
    worker: Worker, sqs: StubSqs, real_s3: S3Semantics, metrics: Metrics
) -> None:
    calls, before = len(sqs.calls), Counter(real_s3.requests)
    for _ in range(TASKS):
        do_next(worker)
    worker.close()
    found = Counter([*sent_to_sqs(sqs.calls[calls:]), *sent_to_s3(real_s3.requests - before)])
    numbers = {row: n / TASKS / (BLOCKS if "block" in row[2] else 1) for row, n in found.items()}
    assert len(worker.ledger.listing().done) == TASKS + 1
    beats = [r for r in real_s3.requests.elements() if r.startswith("PUT") and HEARTBEATS in r]
    numbers["S3", "PUT", "15 seconds"] = len(beats)
    numbers["CloudWatch", "PutMetricData", "5 seconds"] = metrics.requests
    page = (ROOT / "docs" / "service.md").read_text()
    assert numbers == {(row.service, row.name, row.of): row.number for row in REQUESTS}
    rows = re.findall(r"^\| (SQS|S3|CloudWatch) \| `(\w+)` \| (\d+) \| ([\w ]+) \|", page, re.M)
    assert {(service, request, unit): int(n) for service, request, n, unit in rows} == numbers
