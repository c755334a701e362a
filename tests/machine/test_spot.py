from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chunkflow_worker.machine.spot import await_notice
from tests.support.metadata import Metadata, metadata_service


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    with metadata_service() as double:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{double.address}/")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        yield double


def test_the_notice_is_told_once_and_tokens_are_renewed(metadata: Metadata) -> None:
    told: list[str] = []
    waiting = threading.Thread(target=await_notice, args=(told.append, threading.Event(), 0.01))
    waiting.start()
    assert metadata.turns.acquire(timeout=10)
    metadata.tokens.append("newer")  # the first one has run out
    for _ in range(5):
        assert metadata.turns.acquire(timeout=10)
    assert told == []
    assert len(metadata.tokens) == 3
    metadata.notice = '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'
    waiting.join(10)
    assert told == ["terminate at 2026-01-01T00:00:00Z"]
    assert set(metadata.asked) == {"/latest/meta-data/spot/instance-action"}


@pytest.mark.parametrize(
    "variable", ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"]
)
def test_it_gives_up_where_there_is_no_service(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "true" if variable.endswith("DISABLED") else "http://127.0.0.1:9")
    await_notice(pytest.fail, threading.Event())
    assert metadata.asked == []
