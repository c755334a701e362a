"""`Guard`: which requests are answered, and what a browser may do with the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from chunkflow_worker.report.own_hosts import OwnHosts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    # No script or style but those of the page's own files; nothing from elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Answers only requests for a name of this server: see `OwnHosts`. host: that it listens on.

    Pages elsewhere may link here, but not send anything.
    """

    def __init__(self, app: ASGIApp, host: str):
        self._app = app
        self._hosts = OwnHosts(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        is_sent = scope["method"] not in ("GET", "HEAD")
        origin = headers.get("origin")
        if is_sent and origin is not None and not self._hosts.has_origin(origin):
            refusal = PlainTextResponse("This request comes from another page.\n", 403)
            await refusal(scope, receive, send_guarded)
            return
        if not self._hosts.has(headers.get("host", "")):
            refusal = PlainTextResponse("This server does not serve that host.\n", 421)
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)
