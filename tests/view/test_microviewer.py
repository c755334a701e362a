"""The real page, served on 127.0.0.1."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from typing import Any
from urllib.request import urlopen

import microviewer
import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.view.microviewer import show

Get = Callable[[str], bytes]


@contextmanager
def shown(
    monkeypatch: pytest.MonkeyPatch,
    image: np.ndarray | None,
    segmentation: np.ndarray | None = None,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    offset: Vec3 = Vec3(0, 0, 0),
) -> Iterator[Get]:
    """Call `show` in another thread; yields a function that requests a page."""
    servers: queue.Queue[HTTPServer] = queue.Queue()

    class Server(HTTPServer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            servers.put(self)

    monkeypatch.setattr(microviewer, "HTTPServer", Server)
    monkeypatch.setattr(microviewer.webbrowser, "open", lambda *args, **kwargs: True)
    thread = threading.Thread(
        target=show, args=(image, segmentation, voxel_size, offset, 0), daemon=True
    )
    thread.start()
    server = servers.get(timeout=20)

    def get(page: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{server.server_port}{page}", timeout=20) as answer:
            return bytes(answer.read())

    yield get
    server.shutdown()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_an_image_is_served_with_its_position(monkeypatch) -> None:
    image = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
    with shown(monkeypatch, image, None, (40.0, 8.0, 4.0), Vec3(10, 20, 30)) as get:
        assert b"<html" in get("/").lower()
        parameters = json.loads(get("/parameters"))
        voxels = np.frombuffer(get("/channel"), np.uint16)
    assert parameters["bounds"] == [30, 20, 10, 34, 23, 12]
    assert parameters["resolution"] == [4, 8, 40]
    assert (parameters["viewtype"], parameters["layer_type"]) == ("single", "image")
    assert parameters["data_types"] == ["uint16"]
    # The page reads x fastest, which is the order of zyx in memory.
    assert voxels.tolist() == image.ravel().tolist()


def test_a_segmentation_lies_over_its_image(monkeypatch) -> None:
    image = np.zeros((2, 3, 4), np.uint8)
    ids = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    with shown(monkeypatch, image, ids) as get:
        parameters = json.loads(get("/parameters"))
        voxels = np.frombuffer(get("/segmentation"), np.uint32)
    assert (parameters["viewtype"], parameters["data_types"]) == ("hyper", ["uint8", "uint32"])
    assert voxels.tolist() == list(range(24))


def test_a_segmentation_alone(monkeypatch) -> None:
    with shown(monkeypatch, None, np.ones((1, 2, 2), np.uint64)) as get:
        assert json.loads(get("/parameters"))["layer_type"] == "segmentation"


@pytest.mark.parametrize("dtype", ["int8", "int16", "float16"])
def test_types_that_the_page_cannot_show_become_float32(monkeypatch, dtype: str) -> None:
    with shown(monkeypatch, np.full((1, 2, 2), -3, dtype)) as get:
        assert np.frombuffer(get("/channel"), np.float32).tolist() == [-3.0] * 4


def test_of_many_channels_the_first_is_shown_and_of_three_bytes_a_colour(monkeypatch) -> None:
    channels = np.arange(3 * 4, dtype=np.float32).reshape(3, 1, 2, 2)
    with shown(monkeypatch, channels) as get:
        assert np.frombuffer(get("/channel"), np.float32).tolist() == [0.0, 1.0, 2.0, 3.0]
    with shown(monkeypatch, channels.astype(np.uint8)) as get:
        assert np.frombuffer(get("/channel"), np.uint32)[0] == 0xFF080400


def test_a_port_in_use_is_reported() -> None:
    with HTTPServer(("127.0.0.1", 0), microviewer.ViewerServerHandler) as taken:
        port = taken.server_port
        with pytest.raises(ConfigError, match=f"port {port}: is already in use"):
            show(np.zeros((1, 1, 1), np.uint8), None, (1.0, 1.0, 1.0), Vec3(0, 0, 0), port=port)
