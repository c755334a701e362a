"""The files of the page. No other file is ever served."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_NAMES = (
    "index.html",
    "neuroglancer.html",
    "neuroglancer.js",
    "page.css",
    "icon.svg",
    "main.js",
    "events.js",
    "states.js",
    "grid.js",
    "map.js",
    "operators.js",
    "draw.js",
    "projection.js",
    "legend.js",
    "progress.js",
    "chart.js",
    "failures.js",
    "workers.js",
    "box.js",
    "actions.js",
    "elements.js",
    "words.js",
    "uPlot.js",
    "uPlot.css",
)


@dataclass(frozen=True)
class Asset:
    """content: of the file. type: its media type."""

    content: bytes
    type: str


@cache
def assets() -> dict[str, Asset]:
    """The files by the paths at which they are served."""
    folder = files("producer.page") / "assets"
    found = {
        f"/{name}": Asset((folder / name).read_bytes(), _TYPES[name.rpartition(".")[2]])
        for name in _NAMES
    }
    return found | {"/": found["/index.html"], "/neuroglancer": found["/neuroglancer.html"]}
