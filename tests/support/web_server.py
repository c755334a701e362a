"""A web server for the files of a folder, as public buckets are read without a right to list."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

from tests.support.serving import serving


@dataclass
class WebServer:
    """address: of the folder. asked: the files that were asked for, in order.

    sent: how many bytes of each file.
    """

    address: str
    asked: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)


@contextmanager
def web_server(folder: Path, absent: int = 404) -> Iterator[WebServer]:
    """Serve a folder. absent: the HTTP status of files that are not there."""

    counting = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path)[1:]
            served.asked.append(name)
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            span = self.headers.get("Range", "").removeprefix("bytes=").split("-")
            if span[0] == "" and span[1:]:  # the last so many bytes
                span = [str(max(0, len(content) - int(span[1]))), ""]
            if span[0]:
                content = content[int(span[0]) : int(span[1] or len(content)) + 1]
            self.send_response((206 if span[0] else 200) if content else absent)
            if span[0] and content:
                last = int(span[0]) + len(content) - 1
                total = (folder / name).stat().st_size
                self.send_header("Content-Range", f"bytes {span[0]}-{last}/{total}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with counting:  # before the client can have it all
                served.sent[name] += len(content)
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        served = WebServer(url)
        yield served
