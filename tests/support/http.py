"""Requests to a server of this machine, as they are written: no client corrects them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def asked(
    address: str,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """The answer while it comes. headers: a Host among them replaces the right one."""
    place = urlsplit(address).netloc
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        length = {"Content-Length": str(len(body))} if body is not None else {}
        for name, value in ({"Host": place} | length | dict(headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        yield connection.getresponse()
    finally:
        connection.close()


def ask(address: str, path: str, *args: Any, **kwargs: Any) -> Answer:
    """The whole answer; see `asked`."""
    with asked(address, path, *args, **kwargs) as answer:
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
