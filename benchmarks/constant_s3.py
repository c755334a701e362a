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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

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

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._read("HEAD")

        def do_GET(self) -> None:
            if "list-type" in self.path:
                self._list()
            else:
                self._read("GET")

        def do_PUT(self) -> None:
            objects.put(self._key(), self._body())
            self._answer(200, b"", {"ETag": '"written"'}, "PUT")

        def do_POST(self) -> None:
            elements = ElementTree.fromstring(self._body()).iter()
            objects.delete([e.text or "" for e in elements if e.tag.rpartition("}")[2] == "Key"])
            self._answer(200, b"<DeleteResult/>", {}, "DELETE")

        def _read(self, method: str) -> None:
            key = self._key()
            content = objects.get(key) if key else b""
            if content is None:
                body = b"<Error><Code>NoSuchKey</Code></Error>"
                self._answer(404, b"" if method == "HEAD" else body, {}, method)
                return
            about = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"made-up"'}
            status, total = 200, len(content)
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                content = content[int(first) : int(last) + 1 if last else None]
                status = 206
                about["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{total}"
            self._answer(status, content, about, method)

        def _list(self) -> None:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            page, is_cut = objects.page(
                query.get("prefix", ""), query.get("continuation-token", ""), "delimiter" in query
            )
            contents = "".join(
                f"<Contents><Key>{key}</Key><LastModified>{STORED}</LastModified>"
                f"<ETag>&quot;made-up&quot;</ETag><Size>{objects.size(key)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
                for key in page
            )
            token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if is_cut else ""
            body = (
                f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
                f"<KeyCount>{len(page)}</KeyCount>{contents}</ListBucketResult>"
            )
            self._answer(200, body.encode(), {"Content-Type": "application/xml"}, "LIST")

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").removeprefix("/")

        def _body(self) -> bytes:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "aws-chunked" in self.headers.get("Content-Encoding", ""):
                size, _, rest = content.partition(b"\r\n")
                return rest[: int(size.partition(b";")[0], 16)]
            return content

        def _answer(self, status: int, body: bytes, headers: dict[str, str], method: str) -> None:
            with log.open("a") as lines:
                lines.write(f"{method}\n")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
