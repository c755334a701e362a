"""What a task costs a worker beyond its operators: seconds, requests, and time of its device."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import yaml

from benchmarks.options import options
from benchmarks.table import markdown, record, rounds
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import find_queue
from chunkflow_worker.local_aws.serve import local_aws
from producer.send.queue import create_queue
from tests.support.aws_sqs import SqsServer, aws_sqs
from tests.support.proxy import Proxy, fault_proxy

BLOCK = Vec3(4, 4, 8)
FAR_SECONDS = 0.02
"""Latency of servers that are not on this machine."""

DEVICE_SECONDS = 0.05
BUCKET = QUEUE = "small-tasks"
_LONGEST_SECONDS = 300
_OF_TASKS = (
    "ReceiveMessage", "ChangeMessageVisibility", "DeleteMessage", "DeleteMessageBatch",
)  # fmt: skip
_WORKER = "from chunkflow_worker.cli.worker import main; main()"
_DEVICE = f"""
import threading
import time

device = threading.Lock()

def execute(chunk):
    with device:
        time.sleep({DEVICE_SECONDS})
    return chunk
"""


@dataclass(frozen=True)
class Case:
    """latency: of SQS and S3, in seconds. device: each task holds the device for a while."""

    title: str
    latency: float
    in_flight: int
    tasks: int
    device: bool = False


CASES = (
    Case("at once, 2 in flight", 0.0, 2, 600),
    Case("at once, 16 in flight", 0.0, 16, 600),
    Case("20 ms, 1 in flight", FAR_SECONDS, 1, 100),
    Case("20 ms, 2 in flight", FAR_SECONDS, 2, 200),
    Case("20 ms, 2 in flight, device for 50 ms", FAR_SECONDS, 2, 200, device=True),
    Case("20 ms, 3 in flight, device for 50 ms", FAR_SECONDS, 3, 200, device=True),
)


@dataclass(frozen=True)
class Figures:
    """rate: tasks a second. overhead: seconds of a task, from the request that receives its message
    to the delete, without its operators and the wait for the device. cpu: CPU seconds of the worker
    a task. sqs, s3: requests a task.
    """

    rate: float
    overhead: float
    cpu: float
    sqs: float
    s3: float


class Times:
    """When messages were received and deleted, by their receipt handles, as SQS sees it."""

    def __init__(self, sqs: SqsServer, tasks: int):
        self.box: dict[str, str] = {}
        self.received: dict[str, float] = {}
        self.deleted: dict[str, float] = {}
        self.first, self.last = threading.Event(), threading.Event()
        self._receive, self._delete = sqs.stub.receive_message, sqs.stub.delete_message
        self._tasks = tasks
        sqs.stub.receive_message = self._note_receive  # type: ignore[method-assign,assignment]
        sqs.stub.delete_message = self._note_delete  # type: ignore[method-assign]

    def held(self, receipt: str) -> float:
        """Seconds from the receive of a message to its delete."""
        return self.deleted[receipt] - self.received[receipt]

    def wait(self, event: threading.Event, worker: subprocess.Popen[bytes]) -> None:
        """Raises TimeoutError when the worker has ended, or takes minutes."""
        end = time.monotonic() + _LONGEST_SECONDS
        while not event.wait(1):
            if worker.poll() is not None or time.monotonic() > end:
                raise TimeoutError

    def _note_receive(self, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
        answer = self._receive(**arguments)
        for message in answer.get("Messages", []):
            receipt = message["ReceiptHandle"]
            self.box[receipt] = open_envelope(message["Body"], QUEUE)[0].bbox
            self.received[receipt] = time.monotonic()
        return answer

    def _note_delete(self, QueueUrl: str, ReceiptHandle: str) -> None:
        self._delete(QueueUrl, ReceiptHandle)
        self.deleted[ReceiptHandle] = time.monotonic()
        self.first.set()
        if len(self.deleted) == self._tasks:
            self.last.set()


def main() -> None:
    given = options(__doc__, repeats=3)
    with far_s3() as s3:
        found = {case: [measured(case, s3) for _ in range(given.repeats)] for case in CASES}
    head = ["Worker", "tasks/s", "slowest to fastest", "ms beyond operators", "CPU ms"]
    head += ["SQS requests", "S3 requests", "device busy"]
    table = markdown(head, [row(case, figures) for case, figures in found.items()])
    text = (
        "A chain that makes a chunk of 128 voxels and saves nothing. SQS and S3 answer at once, or "
        "after 20 ms; at once, the ledger is on the local disk. Times and requests are those of a "
        f"task; {rounds(given.repeats)}.\n\n{table}"
    )
    record("Small tasks", text, [], given.write)


def row(case: Case, found: list[Figures]) -> list[str]:
    rates = [figures.rate for figures in found]
    busy = f"{median(rates) * DEVICE_SECONDS:.0%}" if case.device else ""
    return [
        case.title,
        f"{median(rates):.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        f"{median(figures.overhead for figures in found) * 1e3:.0f}",
        f"{median(figures.cpu for figures in found) * 1e3:.1f}",
        f"{median(figures.sqs for figures in found):.2f}",
        f"{median(figures.s3 for figures in found):.2f}",
        busy,
    ]


def measured(case: Case, s3: Proxy) -> Figures:
    """Let a worker do the tasks of a case. s3: the proxy in front of it."""
    with tempfile.TemporaryDirectory() as folder, aws_sqs() as sqs:
        os.environ |= sqs.variables
        place = f"s3://{BUCKET}/{uuid.uuid4().hex}" if case.latency else f"file://{folder}"
        ledger = Ledger(f"{place}/log")
        s3.latency = 0.0
        _fill(sqs, ledger, case.tasks)
        s3.latency = sqs.latency = case.latency
        settings = _settings(case, Path(folder), ledger)
        sqs.requests.clear()
        times = Times(sqs, case.tasks)
        with _worker(settings, Path(folder) / "worker.log") as worker:
            times.wait(times.first, worker)
            before, s3_before = _cpu_seconds(worker.pid), s3.requests.total()
            times.wait(times.last, worker)
            cpu = _cpu_seconds(worker.pid) - before
            s3_requests = s3.requests.total() - s3_before
            requests = sum(sqs.requests[name] for name in _OF_TASKS)
        s3.latency = 0.0
        busy = {
            record.bbox: sum(record.timer.values()) + record.waited
            for record in ledger.records(ledger.boxes()[0])
        }
    began, ended = min(times.deleted.values()), max(times.deleted.values())
    held = [times.held(receipt) - busy[times.box[receipt]] for receipt in times.deleted]
    return Figures(
        rate=(case.tasks - 1) / (ended - began),
        overhead=case.latency + median(held),
        cpu=cpu / (case.tasks - 1),
        sqs=requests / case.tasks,
        s3=s3_requests / (case.tasks - 1),
    )


@contextmanager
def far_s3() -> Iterator[Proxy]:
    """Serve an S3 behind a proxy, to which the variables of this process lead."""
    with local_aws() as variables, fault_proxy(variables["AWS_ENDPOINT_URL"]) as (url, proxy):
        os.environ |= variables | {"AWS_ENDPOINT_URL": url}
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield proxy


def _fill(sqs: SqsServer, ledger: Ledger, tasks: int) -> None:
    """Make a queue with the messages of a job."""
    grid = Grid(roi_start=Vec3(0, 0, 0), chunk_size=BLOCK, grid_size=Vec3(1, 1, tasks))
    create_queue(sqs.stub, QUEUE)
    url = find_queue(sqs.stub, QUEUE).url
    content = grid.model_dump(mode="json")
    ledger.write_job(JobRecord(job="job", queue=QUEUE, tasks=tasks, grid=content))
    for box in grid.boxes():
        sqs.stub.send_message(url, encode(TaskMessage(job="job", bbox=str(box)), QUEUE))


def _settings(case: Case, folder: Path, ledger: Ledger) -> dict[str, str]:
    operators: list[dict[str, Any]] = [{"op": "create-chunk"}]
    if case.device:
        plugin = folder / "device.py"
        plugin.write_text(_DEVICE)
        names = {"input_names": "chunk", "output_names": "chunk"}
        operators.append({"op": "plugin", "file": str(plugin)} | names)
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(yaml.safe_dump({"operators": operators}))
    given = {
        "pipeline": pipeline,
        "queue": QUEUE,
        "ledger": ledger.path,
        "in_flight": case.in_flight,
        "metrics": "cloudwatch" if case.latency else "none",
        "spot_notice": "false",
        "poll_seconds": 1,
        "health_folder": folder,
        "log_level": "WARNING",
    }
    return {f"CHUNKFLOW_{name.upper()}": str(value) for name, value in given.items()}


@contextmanager
def _worker(settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        command = [sys.executable, "-c", _WORKER, "run"]
        worker = subprocess.Popen(command, env=os.environ | settings, stdout=out, stderr=out)
    try:
        yield worker
    except TimeoutError:
        raise SystemExit(f"the worker did not do its tasks:\n{log.read_text()[-3000:]}") from None
    finally:
        worker.terminate()
        worker.wait(60)


def _cpu_seconds(process: int) -> float:
    """Of a running process of Linux, all threads together."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
