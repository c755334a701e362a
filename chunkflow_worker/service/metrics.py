"""`open_metrics`: the subscribers that a worker's settings name, for CloudWatch and Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version

from chunkflow_worker.config.extras import needs
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
