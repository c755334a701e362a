from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stub_sqs import StubSqs
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
