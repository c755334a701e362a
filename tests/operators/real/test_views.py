"""Operators that show values: the viewers receive real volumes."""

from __future__ import annotations

import io
import json
import sys
import zlib
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from urllib.request import urlopen

import microviewer
import numpy as np
import pytest

from chunkflow_worker.operators import debug
from chunkflow_worker.operators import neuroglancer as page

BOX, SLICES = "create-bbox -s 60 61 62 -z 16 24 32", np.s_[60:76, 61:85, 62:94]


@pytest.mark.shows("view")
def test_view(chunkflow, raw, bodies, monkeypatch) -> None:
    shown = MagicMock()
    monkeypatch.setattr(microviewer, "hyperview", shown)
    chunkflow(BOX, raw.load, f"{bodies.load} -o ids", "view --segmentation-chunk-name ids")
    image, ids = shown.call_args.args
    assert np.array_equal(image.T, raw.array[SLICES])
    assert np.array_equal(ids.T, bodies.array[SLICES])
    assert shown.call_args.kwargs["offset"] == (62, 61, 60)
    assert shown.call_args.kwargs["resolution"] == (10, 10, 10)


@pytest.mark.shows("neuroglancer")
def test_neuroglancer(chunkflow, raw, bodies, monkeypatch) -> None:
    """What the page receives and reads over the loopback interface."""
    served: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {}

    def look() -> None:
        import neuroglancer

        [viewer] = neuroglancer.server.global_server.viewers.values()
        root = viewer.get_viewer_url().partition("/v/")[0]
        for layer in viewer.state.to_json()["layers"]:
            token = layer["source"][0]["url"].removeprefix("python://volume/")
            with urlopen(f"{root}/neuroglancer/info/{token}", timeout=20) as answer:
                info = json.load(answer)
            region = "1,1,1/0,0,0/" + ",".join(map(str, info["shape"]))
            url = f"{root}/neuroglancer/{info['encoding']}/{token}/{region}"
            with urlopen(url, timeout=20) as answer:
                array = np.load(io.BytesIO(zlib.decompress(answer.read())))
            served[layer["name"]] = (layer["type"], info, array)

    monkeypatch.setattr(page, "_wait_for_the_user", look)
    chunkflow(BOX, raw.load, f"{bodies.load} -o ids", "neuroglancer -i chunk,ids")
    assert list(served) == ["chunk", "ids"]
    for name, kind, array in (
        ("chunk", "image", raw.array[SLICES]),
        ("ids", "segmentation", bodies.array[SLICES]),
    ):
        shown, info, voxels = served[name]
        assert shown == kind
        assert [int(n) for n in info["voxelOffset"]] == [62, 61, 60]
        assert np.array_equal(voxels.T, array)


@pytest.mark.shows("napari")
def test_napari(chunkflow, raw, bodies, monkeypatch) -> None:
    napari = MagicMock()
    monkeypatch.setitem(sys.modules, "napari", napari)
    monkeypatch.setenv("DISPLAY", ":0")
    chunkflow(BOX, raw.load, f"{bodies.load} -o ids", "napari -i chunk,ids")
    viewer = napari.Viewer.return_value
    for added, array in (
        (viewer.add_image, raw.array[SLICES]),
        (viewer.add_labels, bodies.array[SLICES]),
    ):
        assert np.array_equal(added.call_args.args[0], array)
        assert added.call_args.kwargs["scale"] == (10, 10, 10)
        assert added.call_args.kwargs["translate"] == (600, 610, 620)
    napari.run.assert_called_once_with()


@pytest.mark.shows("debug")
def test_debug(chunkflow, raw, monkeypatch) -> None:
    """The values can be inspected and changed at the prompt. A function replaces the user."""
    seen = []

    def type_at(banner: str, names: dict[str, Any]) -> None:
        seen.append((banner, names["chunk"].array.copy()))
        names["chunk"].array[:] = 255 - names["chunk"].array

    monkeypatch.setattr(debug, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(debug, "_prompt", type_at)
    chunkflow(BOX, raw.load, "debug", "save-npy -f out.npy")
    [(banner, array)] = seen
    assert "chunk: Chunk 60-76_61-85_62-94 uint8 (16, 24, 32)" in banner
    assert np.array_equal(array, raw.array[SLICES])
    assert np.array_equal(np.load("out.npy"), 255 - raw.array[SLICES])
