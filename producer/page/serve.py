"""`serve`: serves the page on this machine until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError

if TYPE_CHECKING:
    from producer.page.actions import Actions
    from producer.page.job_watch import Target
    from producer.plan.pipeline_file import PipelineFile


def check_installed() -> None:
    """Raises ConfigError, which names the extra, where a library is missing."""
    for library in ("starlette", "uvicorn"):
        needs(library, extra="page", by="the page of a job")


def serve(
    target: Target,
    pipeline: PipelineFile | None,
    *,
    host: str,
    port: int,
    actions: Actions | None,
    interval: float,
    started: Callable[[str], None],
) -> None:
    """Look at the job once, tell the address by `started`, and serve.

    port: 0 for a free one. actions: None for a page that can only be read. interval: seconds
    between two looks.
    Raises ConfigError, QueueUnavailable and StorageUnavailable before the page is served.
    """
    check_installed()
    import uvicorn

    from producer.look.view_link import Scene
    from producer.page.app import Page, make_app
    from producer.page.box_report import BoxReport
    from producer.page.feed import Feed
    from producer.page.job_watch import JobWatch
    from producer.page.neuroglancer import BoxesInNeuroglancer
    from producer.page.preview import Previews

    with _listening(host, port) as listening:
        watch = JobWatch(target)
        feed = Feed(watch.look, interval)
        scene = Scene.of(pipeline) if pipeline else None
        boxes = BoxReport(target, scene, Previews(pipeline) if pipeline else None)
        neuroglancer = BoxesInNeuroglancer(pipeline) if pipeline else None
        app = make_app(Page(feed, watch.history, boxes, actions, host, neuroglancer))
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        with feed.running():
            started(_address(listening))
            uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        kind, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=kind)
    except OSError as error:
        cure = "give another --port, or --port 0 for a free one"
        problem = f"cannot be served: {error.strerror or error}".partition(" (")[0]
        raise ConfigError.one("page", f"{host}:{port}", problem, cure) from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"
