"""A proxy in front of the local AWS that delays, cuts, throttles or refuses chosen requests.

It knows requests by the service in their signature (sqs, s3, monitoring) and by their operation.
Those of S3 are GET, PUT, HEAD, DELETE, POST and LIST.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["500", "503", "403", "400", "close", "cut", "hang", "delay", "throttle"]
"""What happens to a request.

A number: it is answered with that HTTP status. close: the connection closes without an answer.
hang: there is no answer. cut: the request is forwarded, and the answer breaks off in the middle.
delay: it is forwarded after a second. throttle: the answer comes at 64 kB/s.
"""
Service = Literal["sqs", "s3", "monitoring"]
_ERRORS = {
    "500": "InternalFailure",
    "503": "ServiceUnavailable",
    "403": "ExpiredToken",
    "400": "RequestThrottled",
}
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/(\w+)/aws4_request")
_BYTES_PER_SECOND, _PIECE = 65_536, 4_096


@dataclass(frozen=True)
class Write:
    """A PUT request. Times are seconds since the epoch: of its first line, and of its last byte."""

    path: str
    began: float
    arrived: float


@dataclass(frozen=True)
class Rule:
    """What happens to the requests of one service: a fault, with a probability."""

    fault: Fault
    probability: float = 1.0


class Proxy:
    """Controls of the faults.

    `inject` sets a fault for the next requests of one operation; the event `hit` is set when the
    last of them was answered. `set` makes a fault for a service, which ends with `clear`.

    requests: their number by operation. faults: the number of spoilt requests by service.
    writes: those that were forwarded, in the order of their arrival.
    latency: seconds until a request is answered, at the least.
    bandwidth: bytes a second in each direction, of all connections together.
    """

    def __init__(self, upstream: str, seed: int = 0):
        self.upstream = urlsplit(upstream)
        self.hit = threading.Event()
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.writes: list[Write] = []
        self.latency = 0.0
        self.bandwidth = math.inf
        self._free = {"in": 0.0, "out": 0.0}  # when each direction is
        self._plan: tuple[str, Fault, int] = ("", "500", 0)
        self._rules: dict[str, Rule] = {}

    def inject(self, operation: str, fault: Fault, count: int = 1) -> None:
        """Answer the next `count` requests of `operation` ("" for any) with `fault`."""
        with self._lock:
            self.hit.clear()
            self._plan = (operation, fault, count)

    def set(self, service: Service, fault: Fault, probability: float = 1.0) -> None:
        """Apply a fault to the requests of a service from now on, with that probability."""
        with self._lock:
            self._rules[service] = Rule(fault, probability)

    def clear(self, *services: Service) -> None:
        """End the faults of these services; of all services when none is given."""
        with self._lock:
            for service in services or tuple(self._rules):
                self._rules.pop(service, None)

    def move(self, size: int, direction: Literal["in", "out"]) -> None:
        """Wait as long as so many bytes take, after those that came before."""
        with self._lock:
            begin = max(time.monotonic(), self._free[direction])
            self._free[direction] = end = begin + size / self.bandwidth
        self.stopped.wait(max(0.0, end - time.monotonic()))

    def fault_for(self, operation: str, service: str = "") -> Fault | None:
        with self._lock:
            self.requests[operation] += 1
            fault = self._planned(operation) or self._ruled(service)
            if fault is not None:
                self.faults[service] += 1
            return fault

    def _planned(self, operation: str) -> Fault | None:
        wanted, fault, left = self._plan
        if not left or wanted not in ("", operation):
            return None
        self._plan = (wanted, fault, left - 1)
        if left == 1:
            self.hit.set()
        return fault

    def _ruled(self, service: str) -> Fault | None:
        rule = self._rules.get(service)
        return rule.fault if rule is not None and self._random.random() < rule.probability else None


@contextmanager
def fault_proxy(upstream: str, seed: int = 0) -> Iterator[tuple[str, Proxy]]:
    """Serve in front of `upstream` until the block ends; yields the address and the controls."""
    proxy = Proxy(upstream, seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            began = time.time()
            self.due = time.monotonic() + proxy.latency
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            proxy.move(len(body), "in")
            scope = _SCOPE.search(self.headers.get("authorization", ""))
            service = scope.group(1) if scope else ""
            target = self.headers.get("x-amz-target", "").rpartition(".")[2]
            fault = proxy.fault_for(target or self._method(), service)
            if fault == "hang":
                proxy.stopped.wait(60)
            if fault in ("hang", "close"):
                self.close_connection = True
            elif fault in _ERRORS:
                self._refuse(service, str(fault))
            else:
                if self.command == "PUT":
                    proxy.writes.append(Write(unquote(self.path), began, time.time()))
                if fault == "delay":
                    proxy.stopped.wait(1)
                self._forward(body, fault)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def _method(self) -> str:
            return "LIST" if "list-type=" in self.path else self.command

        def _refuse(self, service: str, fault: str) -> None:
            code = _ERRORS[fault]
            if service == "s3":
                kind = "application/xml"
                error = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
            else:
                kind = "application/x-amz-json-1.0"
                error = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "injected"})
            self._answer(int(fault), {"Content-Type": kind}, error.encode(), None)

        def _forward(self, body: bytes, fault: Fault | None) -> None:
            upstream = http.client.HTTPConnection(
                proxy.upstream.hostname or "", proxy.upstream.port, timeout=60
            )
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")
            }
            with closing(upstream):
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
            if self.command == "HEAD":
                kept["Content-Length"] = answer.getheader("content-length", "0")
            self._answer(answer.status, kept, content, fault)

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, fault: Fault | None
        ) -> None:
            proxy.move(len(content), "out")
            proxy.stopped.wait(max(0.0, self.due - time.monotonic()))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            if fault == "cut":
                self.wfile.flush()
                self.close_connection = True
                if not content:
                    return  # not even the header's end
                content = content[: len(content) // 2]
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault != "throttle":
                self.wfile.write(content)
                return
            for i in range(0, len(content), _PIECE):
                self.wfile.write(content[i : i + _PIECE])
                time.sleep(_PIECE / _BYTES_PER_SECOND)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # Clients hang up on purpose.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", proxy
    finally:
        proxy.stopped.set()
        server.shutdown()
        server.server_close()


_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}
