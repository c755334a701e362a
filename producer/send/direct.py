"""`Direct`: repeats a request of boto3's with other messages, at a quarter of its CPU time."""

from __future__ import annotations

import json
import os
import re
import ssl
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chunkflow_worker.report.aws_session import aws_session

_EVENT, _NAME = "before-send.sqs.SendMessageBatch", "chunkflow-direct"
_KEPT = ("Content-Type", "User-Agent", "X-Amz-Target", "X-Amzn-Query-Mode")
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request,")
_PLAIN_PATH = re.compile(r"/(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]*")  # signed as it is


class _Learned(NamedTuple):
    """What all requests have in common. headers: without those that a signature makes."""

    secure: bool
    host: str
    path: str
    region: str
    service: str
    headers: dict[str, str]


class _InOnePiece:
    """Sends the headers together with the body that follows: half as many calls of the system."""

    _head = b""

    def send(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._head = data
            return
        whole, self._head = self._head + data, b""
        super().send(whole)  # type: ignore[misc]


class _Plain(_InOnePiece, HTTPConnection):  # type: ignore[misc]
    pass


class _Secure(_InOnePiece, HTTPSConnection):  # type: ignore[misc]
    pass


class Direct:
    """Sends batches to the place where boto3 sent one, over connections that stay open.

    boto3 sends the first batch; address, region and headers are taken from its request. It also
    sends every batch that did not get through here: it knows what may be sent again and what an
    answer means. Where there is a proxy or another kind of signature, it sends them all.

    client: boto3's, of SQS. Several threads may use this.
    """

    def __init__(self, client: Any):
        self._client = client
        self._learned: _Learned | None = None
        self._idle: deque[HTTPConnection] = deque()
        self._is_closed = False
        self._credentials = aws_session().get_credentials()
        self._tls: ssl.SSLContext | None = None
        client.meta.events.register_last(_EVENT, self._learn, unique_id=_NAME)

    def close(self) -> None:
        """Close the connections, and do not look at boto3's requests any more."""
        self._is_closed = True
        self._client.meta.events.unregister(_EVENT, unique_id=_NAME)
        while self._idle:
            self._idle.pop().close()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Like the method of boto3's client. Raises what that raises."""
        learned = self._learned
        if learned is not None:
            content = {"QueueUrl": QueueUrl, "Entries": Entries}
            answer = self._post(learned, json.dumps(content, separators=(",", ":")).encode())
            if answer is not None:
                return answer
        result: dict[str, Any] = self._client.send_message_batch(QueueUrl=QueueUrl, Entries=Entries)
        return result

    def _post(self, learned: _Learned, body: bytes) -> dict[str, Any] | None:
        """The answer to a request; None when it did not succeed."""
        headers = learned.headers | self._signature(learned, body)
        connection = self._connection(learned)
        try:
            connection.request("POST", learned.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status == 200:
                answer = json.loads(content)
                if isinstance(answer, dict):
                    self._keep(connection, response.will_close)
                    return answer
        except (OSError, HTTPException, ValueError):
            pass
        connection.close()
        return None

    def _connection(self, learned: _Learned) -> HTTPConnection:
        with suppress(IndexError):
            return self._idle.pop()
        seconds = self._client.meta.config.read_timeout
        if learned.secure:
            return _Secure(learned.host, timeout=seconds, context=self._tls)
        return _Plain(learned.host, timeout=seconds)

    def _keep(self, connection: HTTPConnection, is_ended: bool) -> None:
        """Keep a connection for another request, unless its other end closes it."""
        if is_ended or self._is_closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _learn(self, request: Any, **_: Any) -> None:
        """Look at a request that boto3 is about to send."""
        if self._learned is not None:
            return
        headers = {name: _text(value) for name, value in request.headers.items()}
        scope = _SCOPE.match(headers.get("Authorization", ""))
        is_json = headers.get("Content-Type", "").startswith("application/x-amz-json")
        if scope is None or not is_json or _has_proxy(self._client, request.url):
            return
        url = urlsplit(request.url)
        path, is_secure = url.path or "/", url.scheme == "https"
        if not _PLAIN_PATH.fullmatch(path):
            return
        if is_secure:
            self._tls = _tls_context()
        kept = {name: headers[name] for name in _KEPT if name in headers}
        self._learned = _Learned(is_secure, url.netloc, path, scope[1], scope[2], kept)

    def _signature(self, learned: _Learned, body: bytes) -> dict[str, str]:
        """The headers that sign a request with the credentials of now: version 4 of AWS."""
        from botocore.auth import SigV4Auth

        keys = self._credentials.get_frozen_credentials()
        time = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        signed = {"host": learned.host, "x-amz-date": time}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        signed["x-amz-target"] = learned.headers["X-Amz-Target"]
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        digest = sha256(body).hexdigest()
        canonical = f"POST\n{learned.path}\n\n{lines}\n{names}\n{digest}"
        auth = SigV4Auth(keys, learned.service, learned.region)
        request = SimpleNamespace(context={"timestamp": time})
        signature = auth.signature(auth.string_to_sign(request, canonical), request)
        signed["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        del signed["x-amz-target"]
        return signed


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _has_proxy(client: Any, url: str) -> bool:
    from botocore.utils import get_environ_proxies

    return bool(client.meta.config.proxies or get_environ_proxies(url))


def _tls_context() -> ssl.SSLContext:
    """It trusts the same certificates as boto3."""
    from botocore.httpsession import get_cert_path
    from botocore.session import Session

    given = Session().get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=get_cert_path(given or True))
