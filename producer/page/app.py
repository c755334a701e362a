"""`make_app`: the addresses of the page, and what each of them answers.

GET /, /<asset>                     the files of the page
GET /api/job                        the last look, without the states of the boxes
GET /api/map                        the states of the boxes, two a byte
GET /api/events                     what changes, as server-sent events
GET /api/box/<box>                  what is known of a box
GET /api/box/<box>/<volume>.png     its middle section in the input or the output
GET /api/neuroglancer               the boxes over the volumes, as a link
POST /api/actions                   where that is allowed, with the token
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.scrub import scrub
from producer.page.actions import Actions, Asked
from producer.page.assets import assets
from producer.page.feed import MOST_PAGES, Feed
from producer.page.guard import Guard

if TYPE_CHECKING:
    from starlette.requests import Request

    from producer.page.box_report import BoxReport
    from producer.page.history import History
    from producer.page.neuroglancer import BoxesInNeuroglancer

TOKEN = "X-Chunkflow-Token"
_MOST_ASKED = 20_000  # bytes of a request for an action
_NOT_STORED = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Page:
    """What is served. actions: None for a page that can only be read. host: as it was given.

    neuroglancer: None without a pipeline.
    """

    feed: Feed
    history: History
    boxes: BoxReport
    actions: Actions | None = None
    host: str = "127.0.0.1"
    neuroglancer: BoxesInNeuroglancer | None = None


def make_app(page: Page) -> Starlette:
    """The application, without the thread that looks at the job."""
    api = _Api(page)
    routes = [
        *(Route(path, _file(path)) for path in assets()),
        Route("/api/job", api.job),
        Route("/api/map", api.map),
        Route("/api/events", api.events),
        Route("/api/box/{box}", api.box),
        Route("/api/box/{box}/{volume}.png", api.preview),
        Route("/api/neuroglancer", api.neuroglancer),
        Route("/api/actions", api.act, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=page.host)])


def _file(path: str) -> Callable[[Request], Response]:
    asset = assets()[path]

    def answer(request: Request) -> Response:
        return Response(asset.content, media_type=asset.type, headers={"Cache-Control": "no-cache"})

    return answer


class _Api:
    def __init__(self, page: Page):
        self._page, self._feed = page, page.feed

    def job(self, request: Request) -> Response:
        snapshot = self._feed.snapshot
        content = snapshot.to_send() | {
            "grid": snapshot.grid(),
            "history": self._page.history.points,
            "problem": self._feed.problem,
            "actions": self._page.actions is not None,
            "neuroglancer": self._page.neuroglancer is not None,
        }
        return _json(content)

    def map(self, request: Request) -> Response:
        snapshot, states = self._feed.packed_states()
        headers = {"Content-Encoding": "gzip", "X-Look": str(snapshot.number)}
        return Response(
            states, media_type="application/octet-stream", headers=headers | _NOT_STORED
        )

    async def events(self, request: Request) -> Response:
        if self._feed.is_full:
            return _json({"error": f"{MOST_PAGES} pages are open: close some"}, 503)
        return StreamingResponse(
            self._feed.events(), media_type="text/event-stream", headers=_NOT_STORED
        )

    def box(self, request: Request) -> Response:
        def answer() -> Response:
            found = self._page.boxes.of(self._feed.snapshot, request.path_params["box"])
            return _json(found) if found else _no_box()

        return _told(answer)

    def preview(self, request: Request) -> Response:
        name, boxes = request.path_params["box"], self._page.boxes
        if boxes.place(self._feed.snapshot, name) is None or boxes.previews is None:
            return _no_box()
        if request.path_params["volume"] not in boxes.previews.names:
            return _no_box()

        def answer() -> Response:
            assert boxes.previews is not None
            png = boxes.previews.png(request.path_params["volume"], BoundingBox.parse(name))
            if png is None:
                return _json({"error": "the volume has nothing there"}, 404)
            return Response(png, media_type="image/png", headers=_NOT_STORED)

        return _told(answer)

    def neuroglancer(self, request: Request) -> Response:
        boxes = self._page.neuroglancer
        if boxes is None:
            return _json({"error": "page --pipeline FILE tells which volumes to show"}, 404)
        return _told(lambda: _json({"link": boxes.link(self._feed.snapshot)}))

    async def act(self, request: Request) -> Response:
        actions = self._page.actions
        if actions is None:
            return _json({"error": "this page can only be read; see page --allow-actions"}, 403)
        if not actions.allows(request.headers.get(TOKEN, "")):
            return _json({"error": "the token is missing or wrong: open the printed link"}, 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_ASKED:
                return _json({"error": "the request is too large"}, 413)
        try:
            asked = Asked.model_validate_json(body)
        except ValidationError:
            return _json({"error": "this is no action"}, 400)

        def answer() -> Response:
            done = actions.do(asked)
            self._feed.look_soon()
            return _json({"done": scrub(done)})

        return await run_in_threadpool(_told, answer)


def _told(answer: Callable[[], Response]) -> Response:
    """The answer, or what went wrong in words."""
    try:
        return answer()
    except ChunkflowError as error:
        return _json({"error": scrub(str(error))}, 502)


def _no_box() -> Response:
    return _json({"error": "this is no box of the job"}, 404)


def _json(content: Any, status: int = 200) -> Response:
    return JSONResponse(content, status, _NOT_STORED)
