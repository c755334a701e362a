"""The metrics for Prometheus, read by the parser of its own client."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import replace

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.machine.nvml import GpuFigures
from chunkflow_worker.report.events import (
    JobPausedByBreaker,
    OperatorFinished,
    TaskDropped,
    TaskFailed,
    TaskFinished,
)
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.report.prometheus import Prometheus
from chunkflow_worker.report.tally import TALLY, Tally
from tests.support.http import ask
from tests.support.ports import free_port

BOX = BoundingBox.parse("0-4_0-4_0-4")
DONE = TaskFinished("em", BOX, "done", 2.0, 64, {"load": 0.5}, "GPU", 9, 100, 50)


class Meter:
    def __init__(self, figures: GpuFigures | None):
        self.read = lambda: figures


def made(gpu: GpuFigures | None = None, tally: Tally | None = None, **options: bool) -> Prometheus:
    return Prometheus(
        lambda: 3,
        {"worker": "w-1"},
        gpu=Meter(gpu),  # type: ignore[arg-type]
        tally=tally or Tally(),
        **options,
    )


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def told(metrics: Prometheus) -> Mapping[tuple[str, ...], float]:
    """Values by name and the values of the labels."""
    found = samples(generate_latest(metrics.registry).decode())
    return {(s.name, *s.labels.values()): s.value for s in found}


def test_tasks_are_counted_by_job_and_outcome() -> None:
    metrics = made()
    for event in (
        DONE,
        DONE,
        replace(DONE, state="skipped", patches=0),
        TaskFailed("em", BOX, 1, False, "no", ""),
        TaskFailed("em", BOX, 3, True, "no", ""),
        TaskDropped("old", BOX),
        JobPausedByBreaker("em", "no", 20),
    ):
        metrics(event)
    found = told(metrics)
    counts = {key[1:]: n for key, n in found.items() if key[0] == "chunkflow_tasks_total"}
    assert counts == {
        ("em", "done"): 2,
        ("em", "skipped"): 1,
        ("em", "retried"): 1,
        ("em", "failed"): 1,
        ("old", "dropped"): 1,
    }
    assert found["chunkflow_patches_total", "em"] == 18
    assert found["chunkflow_voxels_total", "em"] == 3 * 64
    assert found["chunkflow_read_bytes_total", "em"] == 300
    assert found["chunkflow_written_bytes_total", "em"] == 150
    assert found["chunkflow_task_seconds_sum", "em"] == 6
    assert found["chunkflow_jobs_paused_total", "em"] == 1
    assert found["chunkflow_tasks_in_flight",] == 3
    assert found["chunkflow_memory_bytes",] > 10**6
    assert found["chunkflow_worker_info", "w-1"] == 1


def test_seconds_of_operators_are_a_histogram() -> None:
    metrics = made()
    for seconds in (0.2, 7, 10_000):
        metrics(OperatorFinished("load", BOX, seconds))
    found = told(metrics)
    assert found["chunkflow_operator_seconds_count", "load"] == 3
    assert found["chunkflow_operator_seconds_bucket", "10.0", "load"] == 2


def test_jobs_may_share_metrics_and_those_of_strangers_are_not_without_end() -> None:
    shared = made(by_job=False)
    shared(DONE)
    assert told(shared)["chunkflow_tasks_total", "all", "done"] == 1
    metrics = made()
    for i in range(300):
        metrics(replace(DONE, job=f"job-{i}"))
    counts = {key[1]: n for key, n in told(metrics).items() if key[0] == "chunkflow_tasks_total"}
    assert len(counts) == 201
    assert counts["others"] == 100


def test_a_gpu_is_told_where_there_is_one() -> None:
    assert not [key for key in told(made()) if "gpu" in key[0]]
    found = told(made(GpuFigures("A10", 5, 24, 0.5)))
    assert found["chunkflow_gpu_memory_bytes", "A10"] == 5
    assert found["chunkflow_gpu_memory_total_bytes", "A10"] == 24
    assert found["chunkflow_gpu_utilization_ratio", "A10"] == 0.5
    assert not [key for key in told(made(GpuFigures("A", 5, 24, None))) if "utilization" in key[0]]


def test_renewals_outages_and_throttles_are_told() -> None:
    tally = Tally()
    for _ in range(2):
        tally.add("lease_renewals")
    tally.add("lease_renewals_failed")
    tally.add("leases_lost")
    tally.add("outages", "queue q")
    found = told(made(tally=tally))
    assert found["chunkflow_lease_renewals_total", "renewed"] == 2
    assert found["chunkflow_lease_renewals_total", "failed"] == 1
    assert found["chunkflow_leases_lost_total",] == 1
    assert found["chunkflow_outages_total", "queue q"] == 1


def test_an_outage_counts_once_and_each_throttle_counts() -> None:
    outage = Outage("storage of this test")
    for _ in range(3):
        outage.failed(TimeoutError("slow down"))
    assert TALLY.of("outages")["storage of this test"] == 1
    assert TALLY.of("throttles")["storage of this test"] == 3


def test_it_answers_at_metrics_until_it_is_closed() -> None:
    metrics, port = made(), free_port()
    metrics.serve("127.0.0.1", port)
    metrics(DONE)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        names = {sample.name for sample in samples(answer.read().decode())}
    assert "chunkflow_tasks_total" in names
    place = f"http://127.0.0.1:{port}"
    for refused in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        answer = ask(place, "/metrics", headers=refused)
        assert (answer.status, b"chunkflow" in answer.body) == (403, False)
    metrics.close()
    metrics.serve("127.0.0.1", port)  # the port is free again
    metrics.close()
