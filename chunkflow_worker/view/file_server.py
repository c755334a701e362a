"""`FileServer`: folders of stored data, read only, over HTTP on this machine alone.

The address holds a random word, so only those who know it find anything. A web page elsewhere can
give its own name the address of this machine; its requests name that host, and are refused.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from chunkflow_worker.report.own_hosts import OwnHosts
from chunkflow_worker.view.port import HOST, port_error
from chunkflow_worker.view.shared_folder import Content, Shared, find

_HOSTS = OwnHosts(HOST)
_COPIED = 1 << 20  # bytes at a time
_IDLE_SECONDS = 60  # after which an open connection is closed
_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))", re.ASCII)
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Encoding, Content-Range",
    "Access-Control-Allow-Private-Network": "true",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@dataclass
class FileServer:
    """What is served, and where.

    port: 0 chooses a free port.
    """

    port: int = 0
    shared: dict[str, Shared] = field(default_factory=dict)
    word: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def share(self, name: str, shared: Shared) -> str:
        """Serve a folder. Returns its address. name: one that no other folder has."""
        self.shared[name] = shared
        return f"http://{HOST}:{self.port}/{self.word}/{quote(name)}"

    @contextmanager
    def serving(self) -> Iterator[FileServer]:
        """Serve until the block ends. Raises ConfigError when the port can't be used."""
        try:
            server = ThreadingHTTPServer((HOST, self.port), self._handler())
        except (OSError, OverflowError) as error:
            raise port_error(self.port, error) from None
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"files": self})

    def find(self, path: str, accepted: str, whole: bool) -> Content | None:
        """What a request means, None if there is no such file.

        path: of the request. accepted: its Accept-Encoding. whole: no range is asked for.
        """
        names = _names(path)
        if names is None or len(names) < 3:
            return None
        is_known = secrets.compare_digest(names[0].encode(), self.word.encode())
        shared = self.shared.get(names[1]) if is_known else None
        return None if shared is None else find(shared, names[2:], accepted, whole)


def _names(path: str) -> list[str] | None:
    """The folders and the file that a path names; None for one that leads elsewhere."""
    try:
        names = [unquote(name, errors="strict") for name in path.split("?")[0].split("/")[1:]]
    except UnicodeDecodeError:
        return None
    odd = any(n in (".", "..") or "/" in n or "\\" in n or "\0" in n for n in names)
    return None if odd or not all(names[:-1]) else names


class _Handler(BaseHTTPRequestHandler):
    """One connection. files: what is served."""

    files: FileServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "chunkflow", ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_OPTIONS(self) -> None:
        if self._is_for_us():
            self._start(HTTPStatus.NO_CONTENT, {})

    def _is_for_us(self) -> bool:
        """Refuse a request by another name of this machine than its own."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) == 1 and hosts[0].endswith(f":{self.files.port}") and _HOSTS.has(hosts[0]):
            return True
        self._refuse(HTTPStatus.FORBIDDEN)
        return False

    def _answer(self, with_body: bool) -> None:
        if not self._is_for_us():
            return
        asked = self.headers.get("Range", "")
        accepted = self.headers.get("Accept-Encoding", "")
        content = self.files.find(self.path, accepted, whole=not _RANGE.fullmatch(asked))
        if content is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            self._send(content, asked, with_body)
        finally:
            if not isinstance(content.file, bytes):
                content.file.close()

    def _send(self, content: Content, asked: str, with_body: bool) -> None:
        fields = {
            "Content-Type": "application/octet-stream",  # which no browser runs as a page
            "Accept-Ranges": "bytes",
            "Vary": "Accept-Encoding",
        }
        if content.encoding:
            fields["Content-Encoding"] = content.encoding
        span = _span(asked, content.size)
        if span is not None and span.start >= span.stop:
            fields["Content-Range"] = f"bytes */{content.size}"
            self._start(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, fields)
            return
        if span is not None:
            fields["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{content.size}"
        status = HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT
        span = span or range(content.size)
        self._start(status, fields, len(span))
        if with_body:
            self._copy(content.file, span)

    def _copy(self, source: BinaryIO | bytes, span: range) -> None:
        if isinstance(source, bytes):
            self.wfile.write(source[span.start : span.stop])
            return
        source.seek(span.start)
        left = len(span)
        while left and (part := source.read(min(left, _COPIED))):
            self.wfile.write(part)
            left -= len(part)
        self.close_connection |= left > 0  # the file became shorter than was promised

    def _start(self, status: HTTPStatus, fields: Mapping[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**_CORS, **fields}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _refuse(self, status: HTTPStatus) -> None:
        self._start(status, {})

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # a page that moved on
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page makes thousands of requests."""


def _span(asked: str, size: int) -> range | None:
    """The bytes that a Range field asks for, empty if there are none; None for all of them.

    A field of another form, such as several ranges, has no effect, as the standard allows.
    """
    found = _RANGE.fullmatch(asked)
    if found is None:
        return None
    first, last, final = found.groups()
    if final is not None:
        return range(max(size - int(final), 0), size if int(final) else 0)
    if last and int(last) < int(first):
        return None
    return range(min(int(first), size), min(int(last) + 1, size) if last else size)
