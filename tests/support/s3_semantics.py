"""An S3 that behaves as AWS does where moto does not; a proxy in front of moto, or of another one.

moto's ETag is always the MD5 of the object, any region reaches any bucket, and every key is
accepted. Here a bucket may be encrypted (its ETags are no MD5s), lie in a region (requests signed
for another are redirected), and keys may be refused. Requests of chosen objects may fail, and
bodies may be damaged on the way. Requests of other services pass unchanged.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/(\w+)/aws4_request")
_ETAG = re.compile(rb"(<ETag>(?:&quot;|\")?)([0-9a-f]{32})")
_HIDDEN = bytes.maketrans(b"0123456789abcdef", b"fedcba9876543210")
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}
_CHECKSUM = re.compile("x-amz-checksum-(crc32c?|crc64nvme|sha1|sha256)")
_CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match")
ENCRYPTED = {
    "kms": {"x-amz-server-side-encryption": "aws:kms"},
    "dsse": {"x-amz-server-side-encryption": "aws:kms:dsse"},
    "customer": {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
}
"""Headers of the answers for objects that are encrypted so that their ETag is no MD5."""


@dataclass
class Fault:
    """What happens to requests whose path begins with `prefix` (``/bucket/key``).

    code: of S3's error, for example SlowDown; "close" ends the connection without an answer.
    methods: of HTTP; all when empty.
    left: how many requests are answered so; all when None.
    """

    prefix: str
    status: int = 503
    code: str = "SlowDown"
    methods: frozenset[str] = frozenset()
    left: int | None = None


@dataclass
class S3Semantics:
    """Controls. They may be changed at any time.

    encryption: of buckets, a key of ENCRYPTED. regions: of buckets. damaged: prefixes of paths
    whose bodies arrive with their last byte changed. refuses: returns the code of S3's error for
    the access key of a request, or None.
    requests: their number by method and path. moved: bytes of their bodies and answers, likewise.
    refused: the number of answers by code of the error.
    """

    url: str
    encryption: dict[str, str] = field(default_factory=dict)
    regions: dict[str, str] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    refuses: Callable[[str], str | None] = lambda key: None
    requests: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(
        self,
        prefix: str,
        code: str = "SlowDown",
        status: int = 503,
        *,
        methods: str = "",
        count: int | None = None,
    ) -> None:
        """Answer requests of paths that begin with `prefix` with an error, until `heal`.

        methods: of HTTP, with spaces between them; all when empty. count: of requests; None is all.
        """
        with self._lock:
            self._faults.append(Fault(prefix, status, code, frozenset(methods.split()), count))

    def heal(self) -> None:
        """End all faults."""
        with self._lock:
            self._faults.clear()

    def count_bytes(self, method: str, path: str, size: int) -> None:
        with self._lock:
            self.moved[f"{method} {path}"] += size

    def count_refusal(self, code: str) -> None:
        with self._lock:
            self.refused[code] += 1

    def error_for(self, method: str, path: str, signed: re.Match[str] | None) -> Fault | None:
        """What this request is answered with instead of what was asked for."""
        with self._lock:
            self.requests[f"{method} {path}"] += 1
            for fault in self._faults:
                matches = path.startswith(fault.prefix) and fault.left != 0
                if matches and (not fault.methods or method in fault.methods):
                    if fault.left is not None:
                        fault.left -= 1
                    return fault
        if signed and (code := self.refuses(signed[1])):
            return Fault(path, 400 if code == "ExpiredToken" else 403, code)
        region = self.regions.get(_bucket(path))
        if signed and region and signed[2] != region:
            return Fault(path, 301, "PermanentRedirect")
        return None


@contextmanager
def s3_semantics(upstream: str) -> Iterator[S3Semantics]:
    """Serve in front of the AWS at `upstream` until the block ends."""
    place = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            signed = _SIGNED.search(self.headers.get("authorization", ""))
            path = unquote(urlsplit(self.path).path)
            is_s3 = signed is None or signed[3] == "s3"
            fault = aws.error_for(self.command, path, signed) if is_s3 else None
            if fault is None:
                self._forward(body, _bucket(path) if is_s3 else "", path)
                return
            aws.count_refusal(fault.code)
            if fault.code == "close":
                self.close_connection = True
                return
            region = aws.regions.get(_bucket(path), "")
            headers = {"x-amz-bucket-region": region} if region else {}
            error = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{fault.code}</Code>'
                f"<Message>{fault.code}</Message><Region>{region}</Region></Error>"
            )
            headers["Content-Type"] = "application/xml"
            self._send(fault.status, headers, error.encode())

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def _forward(self, body: bytes, bucket: str, path: str) -> None:
            dropped = ("connection", "expect")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            for name in list(headers):  # moto forgets a checksum that comes without this
                if found := _CHECKSUM.fullmatch(name.lower()):
                    headers.setdefault("x-amz-sdk-checksum-algorithm", found[1].upper())
            encrypted = ENCRYPTED.get(aws.encryption.get(bucket, ""), {})
            if encrypted:
                for name in headers:
                    if name.lower() in _CONDITIONS:
                        headers[name] = _other_etag(headers[name])
                body = _with_other_etags(body) if self.command == "POST" else body
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            aws.count_bytes(self.command, path, len(body) + len(content))
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
            if self.command == "HEAD":
                kept["Content-Length"] = answer.getheader("content-length", "0")
            if encrypted:
                for name in kept:
                    if name.lower() == "etag":
                        kept[name] = _other_etag(kept[name])
                if path.count("/") > 1 and answer.status < 300:
                    kept |= encrypted
                content = _with_other_etags(content)
            if region := aws.regions.get(bucket):
                kept["x-amz-bucket-region"] = region
            if content and self.command == "GET" and path.startswith(tuple(aws.damaged)):
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._send(answer.status, kept, content)

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients may hang up
    aws = S3Semantics(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()


def _bucket(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def _with_other_etags(document: bytes) -> bytes:
    return _ETAG.sub(lambda found: found[1] + found[2].translate(_HIDDEN), document)


def _other_etag(etag: str) -> str:
    """An ETag that is no MD5 for one that is, and the reverse."""
    digest, dash, parts = etag.partition("-")
    return digest.encode().translate(_HIDDEN).decode() + dash + parts
