from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.cloudwatch import CloudWatch
from chunkflow_worker.report.events import (
    JobPausedByBreaker,
    OperatorFinished,
    TaskDropped,
    TaskFailed,
    TaskFinished,
)
from tests.support.paths import ROOT

BOX = BoundingBox.parse("0-4_0-4_0-4")
DONE = TaskFinished("job", BOX, "done", 2.0, 64, {"load": 0.5, "net": 1.25}, "GPU")


class Client:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.fails = False
        self.called = threading.Event()

    def put_metric_data(self, **request: Any) -> None:
        self.called.set()
        if self.fails:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
        self.requests.append(request)

    def sent(self) -> list[tuple[str, float, dict[str, str]]]:
        """Name, value and dimensions of all metric values, in their order."""
        return [
            (v["MetricName"], v["Value"], {d["Name"]: d["Value"] for d in v["Dimensions"]})
            for request in self.requests
            for v in request["MetricData"]
        ]


def test_a_finished_task_sends_all_its_metrics_with_their_dimensions() -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    metrics(OperatorFinished("load", BOX, 0.5))
    metrics.close()
    place = {"job": "job", "compute_device": "GPU"}
    assert client.sent() == [
        ("OperatorSeconds", 0.5, place | {"operator": "load"}),
        ("OperatorSeconds", 1.25, place | {"operator": "net"}),
        ("TaskSeconds", 2.0, place),
        ("Voxels", 64, place),
        ("VoxelsPerSecond", 32.0, place),
        ("TasksSucceeded", 1, place),
    ]
    assert all(r["Namespace"] == "name" for r in client.requests)


@pytest.mark.parametrize(("by_job", "expected"), [(True, {"one", "two"}), (False, {"all"})])
def test_jobs_share_their_metrics_if_they_should(by_job: bool, expected: set[str]) -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01, by_job=by_job)
    for job in ("one", "two"):
        metrics(replace(DONE, job=job))
        metrics(TaskDropped(job, BOX))
        metrics(JobPausedByBreaker(job, "why", 20))
    metrics.close()
    assert {dimensions["job"] for _, _, dimensions in client.sent()} == expected
    names = {name for name, _, _ in client.sent()}
    assert {"OperatorSeconds", "TaskSeconds", "TasksDropped", "JobsPaused"} <= names


def test_skipped_failed_and_retried_tasks_are_counted_separately() -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(TaskFinished("job", BOX, "skipped", 1.0, 64, {}, ""))
    metrics(TaskFailed("job", BOX, 1, False, "away", ""))
    metrics(TaskFailed("job", BOX, 2, True, "away", ""))
    metrics.close()
    names = Counter(name for name, _, _ in client.sent())
    counts = [names[f"Tasks{end}"] for end in ("Skipped", "Retried", "Failed", "Succeeded")]
    assert counts == [1, 1, 1, 0]


def test_the_documentation_names_each_metric_with_its_unit() -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    metrics(replace(DONE, state="skipped"))
    for final in (True, False):
        metrics(TaskFailed("job", BOX, 1, final, "why", ""))
    metrics(TaskDropped("job", BOX))
    metrics(JobPausedByBreaker("job", "why", 20))
    metrics.close()
    sent = {d["MetricName"]: d["Unit"] for r in client.requests for d in r["MetricData"]}
    page = (ROOT / "docs" / "service.md").read_text()
    section = page.partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*`) \| (\S+) \|", section, re.MULTILINE)
    named = {name: unit for names, unit in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == sent


def test_no_value_is_lost_in_an_outage_of_cloudwatch() -> None:
    client = Client()
    client.fails = True
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    for _ in range(300):
        metrics(DONE)
    assert client.called.wait(5)
    client.fails = False
    metrics.close()
    assert len(client.sent()) == 1800
    largest = max(len(r["MetricData"]) for r in client.requests)
    assert largest <= 1000, "CloudWatch's limit of values per request"


def test_closing_logs_how_many_values_were_not_sent(caplog: Any) -> None:
    client = Client()
    client.fails = True
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    metrics.close(seconds=5)
    assert "6 metric values were not sent" in caplog.text
    assert caplog.text.count("does not answer") == 1


def test_values_of_a_request_that_hangs_count_as_not_sent(caplog: Any) -> None:
    client, done = Client(), threading.Event()

    def hang(**request: Any) -> None:
        client.called.set()
        done.wait(20)

    client.put_metric_data = hang  # type: ignore[method-assign]
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    assert client.called.wait(10)
    metrics.close(seconds=0.1)
    done.set()
    assert "6 metric values were not sent" in caplog.text
