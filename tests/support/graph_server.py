"""A server of a graphene volume, with the requests and answers of PyChunkedGraph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from tests.support.serving import serving

TOKEN = "0123456789abcdef"
_TABLE = "/segmentation/table/neurons"
_ROOTS = "/segmentation/api/v1/table/neurons/roots_binary"
_LAYERS = 4
_GRAPH = {
    "chunk_size": [256, 256, 64],
    "cv_mip": 0,
    "n_layers": _LAYERS,
    "n_bits_for_layer_id": 8,
    "spatial_bit_masks": {"1": 10, "2": 10, "3": 9, "4": 8},
}


def supervoxel(number: int) -> int:
    """The id of a supervoxel, whose first bits are its layer."""
    return 1 << 56 | number


def root(number: int) -> int:
    """The id of an object."""
    return _LAYERS << 56 | number


@dataclass
class GraphServer:
    """address: of the table. times: in seconds, of which objects were asked for."""

    address: str
    times: list[int] = field(default_factory=list)


@contextmanager
def graph_server(
    info: Mapping[str, Any], data_dir: str, roots: Mapping[int, int]
) -> Iterator[GraphServer]:
    """Serve a table.

    info: of the volume of supervoxels at data_dir. roots: the object of each supervoxel.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            graph = {"app": {"supported_api_versions": [0, 1]}, "graph": _GRAPH}
            content = {**info, **graph, "data_dir": data_dir, "mesh": "graphene_meshes"}
            self._answer(f"{_TABLE}/info", json.dumps(content).encode())

        def do_POST(self) -> None:
            ids = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.uint64)
            served.times += map(int, parse_qs(urlsplit(self.path).query)["timestamp"])
            self._answer(_ROOTS, np.array([roots[n] for n in ids.tolist()], np.uint64).tobytes())

        def _answer(self, place: str, content: bytes) -> None:
            status = 200 if urlsplit(self.path).path == place else 404
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status = 401
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if status == 200 else 0))
            self.end_headers()
            self.wfile.write(content if status == 200 else b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        served = GraphServer(f"{url}{_TABLE}")
        yield served
