"""What does a poll of `status` cost for a job of a million boxes?

The records are only listed, so they are empty here. The S3 is one of this file, which can only list
and answers in constant time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.options import options
from benchmarks.table import markdown, record
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from producer.look.survey import Survey

BUCKET = "ledger"
DONE = 0.9
"""Share of the boxes that are done, in an order of their own."""

_PAGE = 1000
_SIZE = Vec3(100, 100, 100)


def main() -> None:
    given = options(__doc__, repeats=1, meaning="has no effect")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for text in names():
            (folder / text).touch()
        rows += figures("local disk", f"file://{folder}", "")
    with listing_s3() as log:
        rows += figures("S3", f"s3://{BUCKET}", log)
    text = (
        f"A ledger of {_SIZE.product:,} boxes, of which {DONE:.0%} are done, spread over the job; "
        "no record is read.\n\n"
        + markdown(["Storage", "look", "s", "CPU s", "requests", "more memory, MB"], rows)
    )
    record("Status of a million boxes", text, [], given.write)


def job() -> Boxes:
    chunk = Vec3(64, 512, 512)
    return Boxes(Vec3(0, 0, 0), chunk, _SIZE, None, 0, _SIZE.product)


def names() -> Iterator[str]:
    """The records of most boxes; the place of a box decides, so that all layers miss some."""
    for i, box in enumerate(job()):
        if i * 7919 % 1000 < 1000 * DONE:
            yield f"{box}.json"


def figures(storage: str, path: str, log: str) -> Iterator[list[str]]:
    survey = Survey(Ledger(path), job())
    for look in ("first", "second", "third"):
        memory, requests = _peak(), _count(log)
        started, busy = time.perf_counter(), time.process_time()
        found = survey.look()
        seconds, cpu = time.perf_counter() - started, time.process_time() - busy
        assert found.done == _SIZE.product * DONE, found
        count = str(_count(log) - requests) if log else "none"
        more = f"{(_peak() - memory) / 1e6:.0f}"
        yield [storage, look, f"{seconds:.2f}", f"{cpu:.2f}", count, more]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _count(log: str) -> int:
    return Path(log).read_bytes().count(b"\n") if log else 0


@contextmanager
def listing_s3() -> Iterator[str]:
    """Serve the ledger, in a process of its own; yields a file with a line for each request."""
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/requests"
        Path(log).touch()
        command = [sys.executable, "-m", "benchmarks.large_ledger", "--serve", log]
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


def serve(log: str) -> None:
    keys = sorted(names())

    class Lists(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
            first = bisect_right(keys, max(prefix, after))
            page = [key for key in keys[first : first + _PAGE] if key.startswith(prefix)]
            is_cut = len(page) == _PAGE
            with Path(log).open("a") as lines:
                lines.write("list\n")
            contents = "".join(
                f"<Contents><Key>{key}</Key><Size>0</Size></Contents>" for key in page
            )
            token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if is_cut else ""
            self._answer(
                f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
                f"<KeyCount>{len(page)}</KeyCount>{contents}</ListBucketResult>".encode()
            )

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/xml")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
