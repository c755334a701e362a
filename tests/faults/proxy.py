"""A proxy on 127.0.0.1 before the local AWS that answers chosen requests with a fault."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "403", "400", "close", "hang"]
_ERRORS = {"500": "InternalFailure", "503": "ServiceUnavailable", "403": "ExpiredToken", "400": "RequestThrottled"}


class Proxy:
    """`inject` a fault for the next requests of one operation; `hit` is set when the last of them was answered so.

    requests: how many came, by operation.
    """

    def __init__(self, upstream: str):
        self.upstream = urlsplit(upstream)
        self.hit = threading.Event()
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self._plan: tuple[str, Fault, int] = ("", "500", 0)

    def inject(self, operation: str, fault: Fault, count: int = 1) -> None:
        """Answer the next `count` requests of `operation` ("" for any) with `fault`."""
        with self._lock:
            self.hit.clear()
            self._plan = (operation, fault, count)

    def fault_for(self, operation: str) -> Fault | None:
        with self._lock:
            self.requests[operation] += 1
            wanted, fault, left = self._plan
            if not left or wanted not in ("", operation):
                return None
            self._plan = (wanted, fault, left - 1)
            if left == 1:
                self.hit.set()
            return fault


@contextmanager
def fault_proxy(upstream: str) -> Iterator[tuple[str, Proxy]]:
    """Serve before `upstream` until the block ends; yields the proxy's address and its controls."""
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
            fault = proxy.fault_for(operation)
            if fault == "hang":
                proxy.stopped.wait(60)
            if fault in ("hang", "close"):
                self.close_connection = True
            elif fault is not None:
                error = json.dumps({"__type": f"com.amazonaws.sqs#{_ERRORS[fault]}", "message": "injected"}).encode()
                self._answer(int(fault), {"Content-Type": "application/x-amz-json-1.0"}, error)
            else:
                self._forward(body)

        def _forward(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(proxy.upstream.hostname or "", proxy.upstream.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() in ("content-type", "x-amzn-requestid", "x-amz-crc32")}
            connection.close()
            self._answer(answer.status, kept, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on purpose
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", proxy
    finally:
        proxy.stopped.set()
        server.shutdown()
        server.server_close()
