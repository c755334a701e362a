"""`WebGate`: keeps web pages away from a server on this machine.

A page in a browser may send requests to any address that the browser reaches, also to this machine,
and may give its own name that address (DNS rebinding). What tells such requests apart are the
headers Origin, Sec-Fetch-Site and Host, which pages cannot choose and programs do not send so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from chunkflow_worker.report.own_hosts import OwnHosts

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WebGate:
    """A WSGI application in front of another one.

    host: the address that the server listens on.
    own_api: beginning of the paths that no page may use at all, not even one of this machine; empty
        for none.
    """

    def __init__(self, app: Wsgi, host: str, own_api: str = ""):
        self._app, self._own_api = app, own_api
        self._hosts = OwnHosts(host)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        is_own_api = bool(self._own_api) and path.startswith(self._own_api)
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
        if not self._hosts.has(environ.get("HTTP_HOST", "")):
            return "it names another host than this server"
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and (is_own_api or not self._hosts.has_origin(origin)):
            return "it comes from a web page"
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
            return "it comes from a web page"
        return None


def _without_cors(start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the headers that let web pages read the answer."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [h for h in headers if not h[0].lower().startswith("access-control-")]
        return start_response(status, kept, *more)

    return start
