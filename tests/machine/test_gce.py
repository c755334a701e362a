from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chunkflow_worker.machine.gce import wait_for_preemption

STAYS = "MIGRATE_ON_HOST_MAINTENANCE"


class Server:
    """A stand-in for Google's metadata server on 127.0.0.1.

    preempted, event: its answers; `change` is set after a change of the first. asked: its requests.
    """

    def __init__(self) -> None:
        self.preempted, self.event, self.flavor = "FALSE", "NONE", "Google"
        self.failing = False
        self.change = threading.Event()
        self.asked: list[str] = []
        self.turns = threading.Semaphore(0)

    def answer(self, path: str) -> str:
        self.asked.append(path)
        self.turns.release()
        if path.startswith("preempted?wait_for_change=true&timeout_sec="):
            self.change.wait(float(path.rpartition("=")[2]))
        return self.event if path == "maintenance-event" else self.preempted


@contextmanager
def serve(state: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Metadata-Flavor"] == "Google"
            text = state.answer(self.path.removeprefix("/computeMetadata/v1/instance/"))
            self.send_response(503 if state.failing else 200)
            self.send_header("Metadata-Flavor", state.flavor)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        state.change.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()
    with serve(state) as host:
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        monkeypatch.delenv("NO_GCE_CHECK", raising=False)
        yield state


def waiting(
    notices: list[str], stop: threading.Event, poll_seconds: float = 0.01
) -> threading.Thread:
    thread = threading.Thread(
        target=wait_for_preemption, args=(notices.append, stop, poll_seconds, 5.0)
    )
    thread.start()
    return thread


def test_a_preemption_is_told_at_once(server: Server) -> None:
    """The server holds the request until it comes."""
    notices: list[str] = []
    thread = waiting(notices, threading.Event(), poll_seconds=60)
    for _ in range(4):  # it is no preemption yet, there is no maintenance, and the held request
        assert server.turns.acquire(timeout=10)
    assert notices == []
    server.preempted = "TRUE"
    server.change.set()
    thread.join(10)
    assert notices == ["preempted"]
    assert server.asked[-1] == "preempted?wait_for_change=true&timeout_sec=60"


def test_a_preemption_that_came_before_is_told(server: Server) -> None:
    server.preempted = "TRUE"
    notices: list[str] = []
    wait_for_preemption(notices.append, threading.Event())
    assert notices == ["preempted"]


def test_maintenance_is_a_notice_only_if_it_ends_the_machine(server: Server) -> None:
    notices: list[str] = []
    server.event = STAYS
    server.change.set()
    thread = waiting(notices, threading.Event())
    for _ in range(9):
        assert server.turns.acquire(timeout=10)
    assert notices == []
    server.event = "TERMINATE_ON_HOST_MAINTENANCE"
    thread.join(10)
    assert notices == ["terminate for maintenance"]


def test_a_failure_of_the_server_is_no_notice_and_passes(server: Server) -> None:
    notices: list[str] = []
    stop = threading.Event()
    thread = waiting(notices, stop)
    server.change.set()
    assert server.turns.acquire(timeout=10)
    server.failing = True
    for _ in range(6):
        assert server.turns.acquire(timeout=10)
    assert notices == []
    server.preempted, server.failing = "TRUE", False
    thread.join(10)
    assert notices == ["preempted"]


def test_it_returns_at_once_elsewhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.flavor = "another"
    wait_for_preemption(pytest.fail, threading.Event())
    assert server.asked == ["preempted"]
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    wait_for_preemption(pytest.fail, threading.Event())
    assert server.asked == ["preempted"]
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    wait_for_preemption(pytest.fail, threading.Event())


def test_it_returns_when_it_is_stopped(server: Server) -> None:
    server.change.set()
    stop = threading.Event()
    thread = waiting([], stop)
    assert server.turns.acquire(timeout=10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
