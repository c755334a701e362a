"""CloudWatch metrics, sent in batches by a thread of their own.

An outage of CloudWatch never fails or delays a task. The namespace is configured; the dimensions
are job and compute_device, and operator for the times of operators. CloudWatch charges for each
combination of name and dimensions, so the jobs may share the dimension `all`.

    OperatorSeconds    Seconds         each operator of a finished task
    TaskSeconds        Seconds         a finished task
    Voxels             Count           a finished task
    VoxelsPerSecond    Count/Second    a finished task
    TasksSucceeded, TasksSkipped, TasksFailed, TasksRetried    Count
        failed: the last attempt failed; retried: an attempt failed and another one follows
    TasksDropped    Count    a message of a cancelled job
    JobsPaused      Count    a job that a worker paused because its boxes failed

The times of operators are sent when their task is finished, so that their sums equal those of the
ledger.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from chunkflow_worker.report.aws_session import aws_session
from chunkflow_worker.report.events import (
    Event,
    JobPausedByBreaker,
    TaskDropped,
    TaskFailed,
    TaskFinished,
)
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0  # between two batches
_BATCH = 500  # values per request; CloudWatch takes 1,000 and 1 MB
_BUFFER = 50_000  # values that wait to be sent
ALL_JOBS = "all"
"""The dimension `job` of the metrics of all jobs that share them."""


class CloudWatch:
    """A subscriber that sends metrics. Call `close` at the end.

    client: of boto3 for CloudWatch; see `make_client`.
    interval_seconds: pause between two batches.
    by_job: whether each job has metrics of its own.
    """

    def __init__(
        self,
        client: Any,
        namespace: str,
        interval_seconds: float = INTERVAL_SECONDS,
        *,
        by_job: bool = True,
    ):
        self._client, self._namespace, self._interval = client, namespace, interval_seconds
        self._by_job = by_job
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(_BUFFER)
        self._closing = threading.Event()
        self._outage = Outage("CloudWatch")
        self._sending = 0  # values in the request that is on its way
        self.dropped = 0
        self._thread = threading.Thread(target=self._send_all, name="cloudwatch", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        job = getattr(event, "job", "") if self._by_job else ALL_JOBS
        for value in _values(event, job):
            self._put(value)

    def close(self, seconds: float = 3.0) -> None:
        """Send the values that wait; gives up after `seconds` and logs how many are lost."""
        self._closing.set()
        self._thread.join(seconds)
        unsent = self._waiting.qsize() + self.dropped + self._sending
        if unsent:
            log.warning("%d metric values were not sent to CloudWatch", unsent)

    def _put(self, value: dict[str, Any]) -> None:
        try:
            self._waiting.put_nowait(value)
        except queue.Full:
            self.dropped += 1

    def _send_all(self) -> None:
        """Send in intervals, until `close` is called."""
        last_round = False
        while not last_round:
            last_round = self._closing.wait(self._interval)
            while batch := list(islice(self._take(), _BATCH)):
                if not self._send(batch):
                    break

    def _take(self) -> Iterator[dict[str, Any]]:
        """Take values out of the queue until it is empty."""
        while True:
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        """Send a batch, or put it back; returns whether it was sent."""
        self._sending = len(batch)
        try:
            self._client.put_metric_data(Namespace=self._namespace, MetricData=batch)
        except Exception as error:
            self._outage.failed(error)
            for value in batch:
                self._put(value)
            return False
        finally:
            self._sending = 0
        self._outage.answered()
        return True


def make_client(region: str) -> Any:
    """A CloudWatch client of boto3; endpoint and credentials come from the environment."""
    from botocore.config import Config

    retries = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(connect_timeout=3, read_timeout=10, retries=retries)
    return aws_session().client("cloudwatch", region_name=region, config=config)


def _values(event: Event, job: str) -> Iterator[dict[str, Any]]:
    """job: the dimension of that name."""
    if isinstance(event, TaskFinished):
        dimensions = _dimensions(event, job)
        for name, seconds in event.operators.items():
            yield _value("OperatorSeconds", seconds, "Seconds", dimensions | {"operator": name})
        yield _value("TaskSeconds", event.seconds, "Seconds", dimensions)
        yield _value("Voxels", event.voxels, "Count", dimensions)
        speed = event.voxels / max(event.seconds, 1e-9)
        yield _value("VoxelsPerSecond", speed, "Count/Second", dimensions)
        outcome = "TasksSkipped" if event.state == "skipped" else "TasksSucceeded"
        yield _value(outcome, 1, "Count", dimensions)
    elif isinstance(event, TaskFailed):
        outcome = "TasksFailed" if event.final else "TasksRetried"
        yield _value(outcome, 1, "Count", _dimensions(event, job))
    elif isinstance(event, TaskDropped | JobPausedByBreaker):
        name = "TasksDropped" if isinstance(event, TaskDropped) else "JobsPaused"
        yield _value(name, 1, "Count", {"job": job, "compute_device": "none"})


def _dimensions(event: TaskFinished | TaskFailed, job: str) -> dict[str, str]:
    return {"job": job, "compute_device": event.device or "none"}


def _value(name: str, value: float, unit: str, dimensions: dict[str, str]) -> dict[str, Any]:
    return {
        "MetricName": name,
        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
        "Timestamp": datetime.now(UTC),
        "Value": value,
        "Unit": unit,
    }
