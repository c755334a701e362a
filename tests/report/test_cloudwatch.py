from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.cloudwatch import CloudWatch
from chunkflow_worker.report.events import OperatorFinished, TaskFailed, TaskFinished
from tests.support.paths import ROOT

BOX = BoundingBox.parse("0-4_0-4_0-4")
DONE = TaskFinished("job", BOX, "done", 2.0, 64, {"load": 0.5, "net": 1.25}, "GPU")


class Client:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.away = False
        self.asked = threading.Event()

    def put_metric_data(self, **request: Any) -> None:
        self.asked.set()
        if self.away:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
        self.requests.append(request)

    def sent(self) -> list[tuple[str, float, dict[str, str]]]:
        data = [d for r in self.requests for d in r["MetricData"]]
        return [
            (d["MetricName"], d["Value"], {x["Name"]: x["Value"] for x in d["Dimensions"]})
            for d in data
        ]


def test_a_finished_task_gives_all_its_metrics_with_their_dimensions() -> None:
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


def test_skipped_failed_and_retried_are_counted_apart() -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(TaskFinished("job", BOX, "skipped", 1.0, 64, {}, ""))
    metrics(TaskFailed("job", BOX, 1, False, "away", ""))
    metrics(TaskFailed("job", BOX, 2, True, "away", ""))
    metrics.close()
    names = Counter(name for name, _, _ in client.sent())
    assert (
        names["TasksSkipped"],
        names["TasksRetried"],
        names["TasksFailed"],
        names["TasksSucceeded"],
    ) == (1, 1, 1, 0)


def test_the_page_tells_each_metric_with_its_unit() -> None:
    client = Client()
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    for event in (
        DONE,
        replace(DONE, state="skipped"),
        *(TaskFailed("job", BOX, 1, final, "why", "") for final in (True, False)),
    ):
        metrics(event)
    metrics.close()
    sent = {d["MetricName"]: d["Unit"] for r in client.requests for d in r["MetricData"]}
    page = (
        (ROOT / "docs" / "service.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| (`.*`) \| (\S+) \|", page, re.MULTILINE)
    assert {name: unit for names, unit in rows for name in re.findall(r"`(\w+)`", names)} == sent


def test_nothing_is_lost_while_cloudwatch_is_away() -> None:
    client = Client()
    client.away = True
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    for _ in range(300):
        metrics(DONE)
    assert client.asked.wait(5)
    client.away = False
    metrics.close()
    assert len(client.sent()) == 1800
    assert max(len(r["MetricData"]) for r in client.requests) <= 1000, (
        "CloudWatch's limit of values a request"
    )


def test_closing_is_bounded_and_says_what_was_not_sent(caplog: Any) -> None:
    client = Client()
    client.away = True
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    metrics.close(seconds=5)
    assert "6 metric values were not sent" in caplog.text
    assert caplog.text.count("does not answer") == 1


def test_what_a_hanging_request_carries_counts_as_not_sent(caplog: Any) -> None:
    client, hangs = Client(), threading.Event()
    client.put_metric_data = lambda **request: (client.asked.set(), hangs.wait(20))  # type: ignore[method-assign]
    metrics = CloudWatch(client, "name", interval_seconds=0.01)
    metrics(DONE)
    assert client.asked.wait(10)
    metrics.close(seconds=0.1)
    hangs.set()
    assert "6 metric values were not sent" in caplog.text
