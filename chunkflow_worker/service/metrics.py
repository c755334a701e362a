"""`open_metrics`: the subscribers for CloudWatch, Prometheus and OpenTelemetry that are set."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version

from chunkflow_worker.config.extras import install_line, needs
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.service.in_hand import InHand

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class About:
    """What does not change while a worker runs. See `Heartbeat`."""

    device: str
    queue: str
    pipeline: str


def open_metrics(
    settings: Settings, about: About, in_hand: InHand, closing: ExitStack
) -> Iterator[Subscriber]:
    """Open what is set. closing: closes them.

    Raises ConfigError where a library is missing, or the port is taken.
    """
    if settings.metrics == "cloudwatch":
        yield _cloudwatch(settings, closing)
    if settings.metrics_port:
        yield _prometheus(settings, about, in_hand, closing)
    if variable := _traces_variable():
        yield from _traces(variable, settings, about, closing)


def _cloudwatch(settings: Settings, closing: ExitStack) -> Subscriber:
    from chunkflow_worker.report.cloudwatch import CloudWatch, make_client

    client, by_job = make_client(settings.region), settings.metrics_by_job
    metrics = CloudWatch(client, settings.metrics_namespace, by_job=by_job)
    closing.callback(metrics.close)
    return metrics


def _prometheus(
    settings: Settings, about: About, in_hand: InHand, closing: ExitStack
) -> Subscriber:
    needs("prometheus_client", extra="prometheus", by="CHUNKFLOW_METRICS_PORT")
    from chunkflow_worker.report.prometheus import Prometheus

    texts = {"worker": settings.worker_name, "version": version("chunkflow-worker")}
    metrics = Prometheus(
        lambda: len(in_hand), texts | asdict(about), by_job=settings.metrics_by_job
    )
    place = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        metrics.serve(settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise ConfigError.one(
            "settings",
            "CHUNKFLOW_METRICS_PORT",
            f"this worker can't answer at {place}: {error.strerror or error}",
            "give a free port, or 0 for no metrics of Prometheus",
        ) from None
    log.info("metrics for Prometheus: http://%s/metrics", place)
    closing.callback(metrics.close)
    return metrics


def _traces_variable() -> str | None:
    """The standard variable of OpenTelemetry that names a place for traces; None for no traces."""
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if is_off or exporter != "otlp":
        return None
    return next((name for name in places if os.environ.get(name)), None)


def _traces(
    variable: str, settings: Settings, about: About, closing: ExitStack
) -> Iterator[Subscriber]:
    """Without the extra there is a warning: others may have set the variable for all programs."""
    try:
        from chunkflow_worker.report.traces import otlp_traces
    except ModuleNotFoundError:
        cure = install_line("opentelemetry")
        log.warning("%s is set, but this worker cannot send traces. To mend it: %s", variable, cure)
        return
    names = {
        "service.instance.id": settings.worker_name,
        "service.version": version("chunkflow-worker"),
    }
    facts = {f"chunkflow.{name}": value for name, value in asdict(about).items()}
    traces, close = otlp_traces(names | facts)
    closing.callback(close)
    yield traces
