"""CloudWatch metrics, sent in batches from a thread of their own; CloudWatch being away never fails or slows a task.

Namespace as configured; dimensions job, compute_device, and operator where it is one.

    OperatorSeconds    Seconds         of each operator of a finished task
    TaskSeconds        Seconds         of a finished task
    Voxels             Count           of a finished task
    VoxelsPerSecond    Count/Second    of a finished task
    TasksSucceeded, TasksSkipped, TasksFailed, TasksRetried    Count
        failed: no other attempt will be made; retried: an attempt failed and another will be made

Times of operators are sent when their task is done, so that the sums equal those of the ledger.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from chunkflow_worker.report.events import Event, TaskFailed, TaskFinished
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_BATCH = 500  # CloudWatch takes 1,000 values and 1 MB a request
_BUFFER = 50_000


class CloudWatch:
    """A subscriber. `close` sends what is left, for a bounded time."""

    def __init__(self, client: Any, namespace: str, interval_seconds: float = 5.0):
        self._client, self._namespace, self._interval = client, namespace, interval_seconds
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(_BUFFER)
        self._closing = threading.Event()
        self._outage = Outage("CloudWatch")
        self.dropped = self._sending = 0
        self._thread = threading.Thread(target=self._send_on, name="cloudwatch", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        for datum in _data_of(event):
            try:
                self._waiting.put_nowait(datum)
            except queue.Full:
                self.dropped += 1

    def close(self, seconds: float = 3.0) -> None:
        """Send what is waiting; gives up after `seconds`."""
        self._closing.set()
        self._thread.join(seconds)
        left = self._waiting.qsize() + self.dropped + self._sending
        if left:
            log.warning("%d metric values were not sent to CloudWatch", left)

    def _send_on(self) -> None:
        while True:
            last = self._closing.wait(self._interval)
            while batch := list(islice(self._drain(), _BATCH)):
                if not self._send(batch):
                    break
            if last:
                return

    def _drain(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        self._sending = len(batch)
        try:
            self._client.put_metric_data(Namespace=self._namespace, MetricData=batch)
        except Exception as error:
            self._outage.failed(error)
            for datum in batch:
                try:
                    self._waiting.put_nowait(datum)
                except queue.Full:
                    self.dropped += 1
            return False
        finally:
            self._sending = 0
        self._outage.answered()
        return True


def make_client(region: str) -> Any:
    """A CloudWatch client; endpoint and credentials come from the environment."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"}
    )
    return boto3.client("cloudwatch", region_name=region, config=config)


def _data_of(event: Event) -> Iterator[dict[str, Any]]:
    if isinstance(event, TaskFinished):
        place = {"job": event.job, "compute_device": event.device or "none"}
        for name, seconds in event.operators.items():
            yield _datum("OperatorSeconds", seconds, "Seconds", place | {"operator": name})
        yield _datum("TaskSeconds", event.seconds, "Seconds", place)
        yield _datum("Voxels", event.voxels, "Count", place)
        yield _datum(
            "VoxelsPerSecond", event.voxels / max(event.seconds, 1e-9), "Count/Second", place
        )
        yield _datum(
            "TasksSkipped" if event.state == "skipped" else "TasksSucceeded", 1, "Count", place
        )
    elif isinstance(event, TaskFailed):
        place = {"job": event.job, "compute_device": event.device or "none"}
        yield _datum("TasksFailed" if event.final else "TasksRetried", 1, "Count", place)


def _datum(name: str, value: float, unit: str, dimensions: dict[str, str]) -> dict[str, Any]:
    return {
        "MetricName": name,
        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
        "Timestamp": datetime.now(UTC),
        "Value": value,
        "Unit": unit,
    }
