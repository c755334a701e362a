"""`WebGate`: keeps web pages away from a server on this machine.

A page in a browser may send requests to any address that the browser reaches, also to this machine,
and may give its own name that address (DNS rebinding). What tells such requests apart are the
headers Origin, Sec-Fetch-Site and Host, which pages cannot choose and programs do not send so.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

_EVERY_ADDRESS = ("0.0.0.0", "::")
_INNER = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Ends of names that nobody can have on the internet."""

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::\d+)?", re.ASCII)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WebGate:
    """A WSGI application in front of another one.

    host: the address that the server listens on.
    own_api: beginning of the paths that no page may use at all, not even one of this machine.
    """

    def __init__(self, app: Wsgi, host: str, own_api: str):
        self._app, self._own_api = app, own_api
        self._names = {host.lower()}
        self._is_open = host in _EVERY_ADDRESS or not _is_loopback(host)
        if self._is_open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        is_own_api = str(environ.get("PATH_INFO", "")).startswith(self._own_api)
        why = self._refusal(environ, is_own_api)
        if why is None:
            return self._app(environ, _without_cors(start_response))
        if environ["REQUEST_METHOD"] == "OPTIONS":
            # Without headers that allow anything, the browser does not send the request itself.
            start_response("204 No Content", [])
            return []
        status, kind, body = "403 Forbidden", "text/plain", f"refused: {why}\n"
        if is_own_api:  # which tells of success and failure in its body
            status, kind, body = "200 OK", "application/json", json.dumps({"status": body.strip()})
        content = body.encode()
        headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
        start_response(status, headers)
        return [content]

    def _refusal(self, environ: dict[str, Any], is_own_api: bool) -> str | None:
        """Why a request is not passed on; None if it is."""
        if not self._is_own(_host_of(environ.get("HTTP_HOST", ""))):
            return "it names another host than this server"
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and (is_own_api or not self._is_own(_host_of(origin, "http://"))):
            return "it comes from a web page"
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
            return "it comes from a web page"
        return None

    def _is_own(self, host: str) -> bool:
        if host == "localhost" or _is_loopback(host) or host in self._names:
            return True
        if not self._is_open:
            return host.endswith(".localhost")
        return bool(host) and ("." not in host or host.endswith(_INNER) or _is_address(host))


def _host_of(header: str, before: str = "") -> str:
    """The host that a header names, in lower case; empty if it names none.

    before: what stands before it.
    """
    found = _HOST.fullmatch(header.removeprefix(before))
    return (found["address"] or found["name"]).lower().rstrip(".") if found else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _without_cors(start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the headers that let web pages read the answer."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [h for h in headers if not h[0].lower().startswith("access-control-")]
        return start_response(status, kept, *more)

    return start
