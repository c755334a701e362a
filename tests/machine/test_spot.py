from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chunkflow_worker.machine.spot import wait_for_notice
from tests.support.metadata import Metadata, metadata_service


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    with metadata_service() as double:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{double.address}/")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        yield double


def test_the_notice_is_passed_on_once_and_tokens_are_renewed(metadata: Metadata) -> None:
    notices: list[str] = []
    waiting = threading.Thread(
        target=wait_for_notice, args=(notices.append, threading.Event(), 0.01)
    )
    waiting.start()
    assert metadata.turns.acquire(timeout=10)
    metadata.tokens.append("newer")  # the first one has expired
    for _ in range(5):
        assert metadata.turns.acquire(timeout=10)
    assert notices == []
    assert len(metadata.tokens) == 3
    metadata.notice = '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'
    waiting.join(10)
    assert notices == ["terminate at 2026-01-01T00:00:00Z"]
    assert set(metadata.asked) == {"/latest/meta-data/spot/instance-action"}


@pytest.mark.parametrize(
    "variable", ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"]
)
def test_it_returns_at_once_without_a_service(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "true" if variable.endswith("DISABLED") else "http://127.0.0.1:9")
    wait_for_notice(pytest.fail, threading.Event())
    assert metadata.asked == []


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"action": "stop"}'])
def test_a_notice_that_cannot_be_read_is_a_notice(metadata: Metadata, text: str) -> None:
    metadata.notice = text
    notices: list[str] = []
    wait_for_notice(notices.append, threading.Event())
    assert notices == ["soon"]


def test_it_returns_when_it_is_stopped(metadata: Metadata) -> None:
    stop = threading.Event()
    waiting = threading.Thread(target=wait_for_notice, args=(pytest.fail, stop, 60))
    waiting.start()
    assert metadata.turns.acquire(timeout=10)
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()
