from __future__ import annotations

import logging
import socket
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.report.traces import Traces
from chunkflow_worker.service.in_hand import InHand
from chunkflow_worker.service.metrics import About, open_metrics
from chunkflow_worker.service.worker import Worker
from tests.support.ports import free_port
from tests.support.queues import BOX, receive


def test_a_worker_answers_prometheus_on_its_port(
    make_worker: Callable[..., Worker], sqs: StubSqs, queue: Queue
) -> None:
    port = free_port()
    worker = make_worker(metrics_port=port)
    worker.run(receive(sqs, queue, BOX))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'chunkflow_tasks_total{job="job",outcome="done"} 1.0' in text
    assert 'worker="worker-1"' in text
    assert 'queue="q"' in text
    worker.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_that_is_taken_is_refused_in_words(make_worker: Callable[..., Worker]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as refusal:
            make_worker(metrics_port=port)
    text = str(refusal.value)
    assert "CHUNKFLOW_METRICS_PORT" in text
    assert f"can't answer at 127.0.0.1:{port}: Address already in use" in text
    assert "give a free port, or 0" in text


TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def opened() -> list[Subscriber]:
    with ExitStack() as closing:
        settings = Settings(metrics="none")
        return list(open_metrics(settings, About("cpu", "q", "d1"), InHand(), closing))


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, 1),
        ({TRACES: "http://127.0.0.1:1"}, 1),
        ({TRACES: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "True"}, 0),
        ({TRACES: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, 0),
    ],
)
def test_traces_are_sent_where_the_variables_name_a_place(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], count: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert [type(one) for one in opened()] == [Traces] * count


def test_a_worker_without_the_library_says_which_variable_has_no_effect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TRACES, "http://127.0.0.1:1")
    monkeypatch.delitem(sys.modules, "chunkflow_worker.report.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with caplog.at_level(logging.WARNING):
        assert opened() == []
    assert f"{TRACES} is set" in caplog.text
    assert "chunkflow-worker[opentelemetry]" in caplog.text
