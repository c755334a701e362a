from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chunkflow_worker.interruption import await_notice


class Metadata:
    """A double of EC2's metadata service. notice: that of the spot machine. tokens: made so far."""

    def __init__(self) -> None:
        self.notice = ""
        self.tokens: list[str] = []
        self.asked: list[str] = []
        self.turns = threading.Semaphore(0)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    double = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.path == "/latest/api/token"
            assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            double.tokens.append(f"token-{len(double.tokens)}")
            self._answer(200, double.tokens[-1])

        def do_GET(self) -> None:
            double.asked.append(self.path)
            if self.headers["X-aws-ec2-metadata-token"] != double.tokens[-1]:
                self._answer(401, "")
            elif double.notice:
                self._answer(200, double.notice)
            else:
                self._answer(404, "")
            double.turns.release()

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    yield double
    server.shutdown()
    server.server_close()


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


@pytest.mark.parametrize("variable", ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"])
def test_it_gives_up_where_there_is_no_service(metadata: Metadata, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "true" if variable.endswith("DISABLED") else "http://127.0.0.1:9")
    await_notice(pytest.fail, threading.Event())
    assert metadata.asked == []
