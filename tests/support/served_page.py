"""The page of a job, served in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from producer.look.view_link import Scene
from producer.page.actions import Actions
from producer.page.app import Page, make_app
from producer.page.box_report import BoxReport
from producer.page.feed import Feed
from producer.page.job_watch import JobWatch, Target
from producer.page.neuroglancer import BoxesInNeuroglancer
from producer.page.preview import Previews
from producer.plan.pipeline_file import PipelineFile


@dataclass(frozen=True)
class ServedPage:
    """address: of the page, with the token."""

    address: str
    feed: Feed
    page: Page


def make_page(target: Target, *, allow_actions: bool = False) -> Page:
    """All of the page but its server and its thread."""
    watch = JobWatch(target)
    assert isinstance(target.pipeline, Path)
    pipeline = PipelineFile.load(target.pipeline)
    boxes = BoxReport(target, Scene.of(pipeline), Previews(pipeline))
    actions = Actions(target) if allow_actions else None
    feed, neuroglancer = Feed(watch.look, 3600), BoxesInNeuroglancer(pipeline)
    return Page(feed, watch.history, boxes, actions, neuroglancer=neuroglancer)


@contextmanager
def served(target: Target, *, allow_actions: bool = False) -> Iterator[ServedPage]:
    """Serve until the end of the context. The page looks at the job when a test says so."""
    page = make_page(target, allow_actions=allow_actions)
    server = uvicorn.Server(
        uvicorn.Config(make_app(page), port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    ready = threading.Event()
    startup = server.startup

    async def started(sockets: object = None) -> None:
        await startup()
        ready.set()

    server.startup = started  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    with page.feed.running():
        thread.start()
        assert ready.wait(30)
        port = server.servers[0].sockets[0].getsockname()[1]
        token = f"#{page.actions.token}" if page.actions else ""
        try:
            yield ServedPage(f"http://127.0.0.1:{port}/{token}", page.feed, page)
        finally:
            server.should_exit = True
            thread.join(30)
