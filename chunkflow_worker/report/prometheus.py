"""Metrics for Prometheus, which asks this process for them by HTTP; needs the extra `prometheus`.

docs/service.md lists them. All names begin with `chunkflow_`. The figures of a GPU are absent
without one. A worker tells what has happened since it started.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chunkflow_worker.machine.memory import resident_bytes
from chunkflow_worker.machine.nvml import GpuMeter
from chunkflow_worker.report.events import (
    Event,
    JobPausedByBreaker,
    OperatorFinished,
    TaskDropped,
    TaskFailed,
    TaskFinished,
)
from chunkflow_worker.report.tally import TALLY, Tally
from chunkflow_worker.report.web_gate import WebGate

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_JOBS = 200  # that have metrics of their own: a stranger's messages may name any
_ALL_JOBS, _OTHER_JOBS = "all", "others"


class Prometheus:
    """A subscriber that counts, and a server of the counts. Call `close` at the end.

    in_flight: tells how many tasks are in hand. about: texts about the worker.
    by_job: whether each job has metrics of its own.
    """

    def __init__(
        self,
        in_flight: Callable[[], int],
        about: Mapping[str, str],
        *,
        by_job: bool = True,
        gpu: GpuMeter | None = None,
        tally: Tally = TALLY,
    ):
        self.registry = made = CollectorRegistry()
        self._by_job, self._jobs = by_job, set[str]()
        self._adding_job = threading.Lock()
        self._server: Callable[[], None] = lambda: None

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"chunkflow_{name}", text, ("job", *labels), registry=made)

        def seconds(name: str, text: str, label: str) -> Histogram:
            return Histogram(
                f"chunkflow_{name}_seconds", text, (label,), registry=made, buckets=_SECONDS
            )

        self._tasks = counter("tasks", "Tasks by what became of an attempt", "outcome")
        self._voxels = counter("voxels", "Voxels of the output of finished tasks")
        self._patches = counter("patches", "Patches that the net ran on, of finished tasks")
        self._read = counter("read_bytes", "Bytes that finished tasks have read")
        self._written = counter("written_bytes", "Bytes that finished tasks have written")
        self._paused = counter("jobs_paused", "Jobs that the circuit breaker has paused")
        self._task_seconds = seconds("task", "Seconds of finished tasks", "job")
        self._operator_seconds = seconds("operator", "Seconds of operators' steps", "operator")
        in_hand = Gauge("chunkflow_tasks_in_flight", "Tasks in hand", registry=made)
        in_hand.set_function(in_flight)
        Info("chunkflow_worker", "About this worker", registry=made).info(dict(about))
        made.register(_Process(gpu or GpuMeter(), tally))

    def serve(self, host: str, port: int) -> None:
        """Answer requests for /metrics, until `close`. Raises OSError where the port is taken."""

        class Server(_Server):
            address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

        gate = WebGate(make_wsgi_app(self.registry), host)
        server = make_server(host, port, gate, Server, _QuietHandler)
        thread = threading.Thread(target=server.serve_forever, name="prometheus", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._server = stop

    def close(self) -> None:
        self._server()

    def __call__(self, event: Event) -> None:
        match event:
            case OperatorFinished():
                self._operator_seconds.labels(event.name).observe(event.seconds)
            case TaskFinished():
                self._finished(event)
            case TaskFailed():
                outcome = "failed" if event.final else "retried"
                self._tasks.labels(self._job(event.job), outcome).inc()
            case TaskDropped():
                self._tasks.labels(self._job(event.job), "dropped").inc()
            case JobPausedByBreaker():
                self._paused.labels(self._job(event.job)).inc()

    def _finished(self, event: TaskFinished) -> None:
        job = self._job(event.job)
        self._tasks.labels(job, event.state).inc()
        self._task_seconds.labels(job).observe(event.seconds)
        self._voxels.labels(job).inc(event.voxels)
        self._patches.labels(job).inc(event.patches)
        self._read.labels(job).inc(event.bytes_read)
        self._written.labels(job).inc(event.bytes_written)

    def _job(self, job: str) -> str:
        if not self._by_job:
            return _ALL_JOBS
        with self._adding_job:
            if job not in self._jobs and len(self._jobs) >= _MOST_JOBS:
                return _OTHER_JOBS
            self._jobs.add(job)
            return job


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


class _Process(Collector):
    """What is looked up when Prometheus asks."""

    def __init__(self, gpu: GpuMeter, tally: Tally):
        self._gpu, self._tally = gpu, tally

    def collect(self) -> Iterable[Metric]:
        text = "Resident memory of the worker and its children"
        yield GaugeMetricFamily("chunkflow_memory_bytes", text, resident_bytes())
        yield from self._counts()
        figures = self._gpu.read()
        if figures is None:
            return
        for name, text, value in (
            ("gpu_memory_bytes", "Memory of the GPU that all processes use", figures.memory),
            ("gpu_memory_total_bytes", "Memory of the GPU", figures.memory_total),
            ("gpu_utilization_ratio", "Share of time that a kernel ran", figures.utilization),
        ):
            if value is not None:
                family = GaugeMetricFamily(f"chunkflow_{name}", text, labels=("gpu",))
                family.add_metric((figures.name,), value)
                yield family

    def _counts(self) -> Iterable[Metric]:
        renewals = CounterMetricFamily(
            "chunkflow_lease_renewals", "Renewals of leases", labels=("outcome",)
        )
        for outcome, counts in (
            ("renewed", self._tally.of("lease_renewals")),
            ("failed", self._tally.of("lease_renewals_failed")),
        ):
            renewals.add_metric((outcome,), sum(counts.values()))
        yield renewals
        lost = sum(self._tally.of("leases_lost").values())
        yield CounterMetricFamily("chunkflow_leases_lost", "Leases that were lost", lost)
        for name, text, counts in (
            ("outages", "Outages that have begun", self._tally.of("outages")),
            ("throttles", "Answers that a service is overloaded", self._tally.of("throttles")),
        ):
            family = CounterMetricFamily(f"chunkflow_{name}", text, labels=("service",))
            for service, count in counts.items():
                family.add_metric((service,), count)
            yield family
