"""An S3 of the benchmarks that holds a made-up job of any size and answers in constant time.

Records and blocks are made when they are read, by their names. What is written is kept in memory.
Run as a program, it serves until it is killed, and writes a line for each request to a file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import responses
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from benchmarks.made_up_job import BLOCK_BYTES, RECORD_BYTES, STORED, MadeUpJob

BUCKET = "ledger"
_PAGE = 1000


@contextmanager
def constant_s3(side: int) -> Iterator[Path]:
    """Serve the job of `side`^3 boxes by a process of its own, to which the environment leads.

    Yields the file with a line for each request.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests"
        log.touch()
        command = [sys.executable, "-m", "benchmarks.constant_s3", str(side), str(log)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            os.environ |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            yield log
        finally:
            server.kill()
            server.wait()


class Objects:
    """The objects of a bucket: those of a job, and what is written beside them."""

    def __init__(self, job: MadeUpJob):
        self._job = job
        self._made = {f"out/{name}" for name in job.names()}
        self._written = {f"out/{name}": text for name, text in job.others()}
        self._keys = sorted({*self._made, *self._written})

    def get(self, key: str) -> bytes | None:
        if key in self._written:
            return self._written[key]
        return self._job.content(key.removeprefix("out/")) if key in self._made else None

    def size(self, key: str) -> int:
        """In bytes, without making the content."""
        made = RECORD_BYTES if key.endswith(".json") else BLOCK_BYTES
        return len(self._written[key]) if key in self._written else made

    def put(self, key: str, content: bytes) -> None:
        if key not in self._made and key not in self._written:
            self._keys.insert(bisect_left(self._keys, key), key)
        self._written[key] = content

    def delete(self, keys: list[str]) -> None:
        gone = {*keys}
        self._made -= gone
        for key in gone:
            self._written.pop(key, None)
        if keys:  # of one request they are neighbours
            first, last = bisect_left(self._keys, min(keys)), bisect_left(self._keys, max(keys))
            self._keys[first : last + 1] = [
                key for key in self._keys[first : last + 1] if key not in gone
            ]

    def page(self, prefix: str, after: str, flat: bool) -> tuple[list[str], bool]:
        """Up to a thousand keys; and whether there are more."""
        place = bisect_left(self._keys, max(prefix, f"{after}\0" if after else ""))
        page: list[str] = []
        while place < len(self._keys) and self._keys[place].startswith(prefix):
            key = self._keys[place]
            folder, slash, _ = key.removeprefix(prefix).partition("/")
            if flat and slash:  # past all of the folder
                place = bisect_left(self._keys, f"{prefix}{folder}0")
                continue
            if len(page) == _PAGE:
                return page, True
            page.append(key)
            place += 1
        return page, False


def serve(side: int, log: Path) -> None:
    objects = Objects(MadeUpJob(side, f"s3://{BUCKET}/out"))
    with log.open("w", buffering=1) as lines:
        server = HTTPServer(lambda request: _Answer(objects, request).send(lines))
        (socket,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([socket])
        print(socket.getsockname()[1], flush=True)
        IOLoop.current().start()


class _Answer:
    """Answers a request."""

    def __init__(self, objects: Objects, request: HTTPServerRequest):
        self._objects, self._request = objects, request
        self._key = unquote(request.path).removeprefix(f"/{BUCKET}").removeprefix("/")

    def send(self, log: IO[str]) -> None:
        """Send it, and write a line that says what was asked for."""
        name, status, headers, body = self._made()
        log.write(f"{name}\n")
        fields = HTTPHeaders({**headers, "Content-Length": str(len(body))})
        start = ResponseStartLine("HTTP/1.1", status, responses[status])
        connection = self._request.connection
        assert connection is not None
        connection.write_headers(start, fields, b"" if name == "HEAD" else body)
        connection.finish()

    def _made(self) -> tuple[str, int, dict[str, str], bytes]:
        method = self._request.method
        if method == "PUT":
            self._objects.put(self._key, self._body())
            return "PUT", 200, {"ETag": '"written"'}, b""
        if method == "POST":
            elements = ElementTree.fromstring(self._body()).iter()
            keys = [e.text or "" for e in elements if e.tag.rpartition("}")[2] == "Key"]
            self._objects.delete(keys)
            return "DELETE", 200, {}, b"<DeleteResult/>"
        if "list-type" in self._request.query:
            return "LIST", 200, {"Content-Type": "application/xml"}, self._list()
        return method or "", *self._read()

    def _read(self) -> tuple[int, dict[str, str], bytes]:
        content = self._objects.get(self._key) if self._key else b""
        if content is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        about = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"made-up"'}
        if not (wanted := self._request.headers.get("Range")):
            return 200, about, content
        total = len(content)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        content = content[int(first) : int(last) + 1 if last else None]
        about["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{total}"
        return 206, about, content

    def _list(self) -> bytes:
        query = {key: values[0] for key, values in parse_qs(self._request.query).items()}
        page, is_cut = self._objects.page(
            query.get("prefix", ""), query.get("continuation-token", ""), "delimiter" in query
        )
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>{STORED}</LastModified>"
            f"<ETag>&quot;made-up&quot;</ETag><Size>{self._objects.size(key)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if is_cut else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
            f"<KeyCount>{len(page)}</KeyCount>{contents}</ListBucketResult>"
        ).encode()

    def _body(self) -> bytes:
        content = self._request.body
        if "aws-chunked" in self._request.headers.get("Content-Encoding", ""):
            size, _, rest = content.partition(b"\r\n")
            return rest[: int(size.partition(b";")[0], 16)]
        return content


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
