"""A stand-in for EC2's metadata service (IMDSv2) on 127.0.0.1."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Metadata:
    """What the service answers, and what it was asked.

    zone: where the machine is.
    notice: of the end of the spot machine; there is none when it is empty.
    tokens: those given so far. turns: a semaphore, released with each answer.
    """

    def __init__(self) -> None:
        self.address = ""
        self.notice, self.zone = "", "us-east-1a"
        self.tokens: list[str] = []
        self.asked: list[str] = []
        self.turns = threading.Semaphore(0)


@contextmanager
def metadata_service() -> Iterator[Metadata]:
    """Serve until the block ends. AWS_EC2_METADATA_SERVICE_ENDPOINT must be its address."""
    service = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.path == "/latest/api/token"
            assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            service.tokens.append(f"token-{len(service.tokens)}")
            self._answer(200, service.tokens[-1])

        def do_GET(self) -> None:
            service.asked.append(self.path)
            if self.headers["X-aws-ec2-metadata-token"] != service.tokens[-1]:
                self._answer(401, "")
            elif self.path.endswith("/placement/availability-zone"):
                self._answer(200, service.zone)
            elif service.notice:
                self._answer(200, service.notice)
            else:
                self._answer(404, "")
            service.turns.release()

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
