"""Fixtures for the producer's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue, find_queue, make_client
from producer.send.queue import create_queue


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the queue, pipeline and ledger that the shell of the tests may have set."""
    for name in ("CHUNKFLOW_QUEUE", "CHUNKFLOW_PIPELINE", "CHUNKFLOW_LEDGER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(aws: dict[str, str]) -> Any:
    return make_client(aws["AWS_REGION"])


@pytest.fixture
def queue(client: Any, unique_name: str) -> Queue:
    create_queue(client, unique_name)
    return find_queue(client, unique_name)


@pytest.fixture
def take_all(client: Any) -> Callable[[str], list[str]]:
    """Receives and deletes all messages of the queue at a URL; returns their bodies."""

    def take(url: str) -> list[str]:
        bodies: list[str] = []
        while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            for message in messages:
                bodies.append(message["Body"])
                client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    return take


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "log"))
