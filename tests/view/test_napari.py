"""The calls that napari receives; tests/operators/test_napari.py has a stricter double of it."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from osteoid import Skeleton

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.view.napari import check_screen, show

VOXEL_SIZE = (40.0, 8.0, 4.0)
BYTES = np.random.default_rng(0).integers(0, 255, (2, 3, 4), np.uint8)


class Viewer:
    """Records the name, the data and the options of each call."""

    def __init__(self, calls: list[Any], title: str):
        self._calls = calls
        calls.append(("open", title))

    def __getattr__(self, method: str) -> Any:
        return lambda data, **options: self._calls.append((method, data, options))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All calls of napari in their order."""
    recorded: list[Any] = []
    napari: Any = types.ModuleType("napari")
    napari.Viewer = lambda title: Viewer(recorded, title)
    napari.run = lambda: recorded.append(("run",))
    monkeypatch.setitem(sys.modules, "napari", napari)
    return recorded


def test_the_window_is_shown_when_it_has_all_its_layers(calls: list[Any]) -> None:
    em = Chunk(BYTES, Vec3(-10, 100, 1000), VOXEL_SIZE)
    ids = Chunk(BYTES.astype(np.uint64), Vec3(1, 2, 3), (80.0, 16.0, 8.0))
    show({"em": em, "ids": ids}, "a title")
    assert [call[0] for call in calls] == ["open", "add_image", "add_labels", "run"]
    assert calls[0] == ("open", "a title")
    (_, image, of_image), (_, labels, of_labels) = calls[1:3]
    assert image is BYTES
    assert of_image == {
        "name": "em",
        "scale": VOXEL_SIZE,
        "translate": (-400.0, 800.0, 4000.0),
        "channel_axis": None,
    }
    assert np.array_equal(labels, BYTES)
    assert of_labels == {"name": "ids", "scale": (80.0, 16.0, 8.0), "translate": (80, 32, 24)}


def test_a_map_over_an_image_does_not_hide_it(calls: list[Any]) -> None:
    ids = Chunk(BYTES.astype(np.uint64))
    show({"em": Chunk(BYTES), "map": Chunk(BYTES), "ids": ids}, "")
    colours = [(call[2].get("blending"), call[2].get("colormap")) for call in calls[1:4]]
    assert colours == [(None, None), ("additive", "bop orange"), (None, None)]


def test_channels_are_layers(calls: list[Any]) -> None:
    show({"map": Chunk(np.stack([BYTES] * 3))}, "")
    assert calls[1][2]["channel_axis"] == 0


def test_a_given_voxel_size_overrides_all_but_that_of_skeletons(calls: list[Any]) -> None:
    sites = np.array([[1, 2, 3]], np.int32)
    values = {
        "em": Chunk(BYTES, Vec3(1, 1, 1), VOXEL_SIZE),
        "points": Points(sites, VOXEL_SIZE),
        "synapses": Synapses(sites, sites, np.zeros(1, np.int32), voxel_size=VOXEL_SIZE),
        "skeletons": {1: Skeleton(np.zeros((2, 3), np.float32), np.array([[0, 1]], np.uint32))},
    }
    show(values, "", (30.0, 2.0, 2.0))
    layers = {options["name"]: options["scale"] for _, _, options in calls[1:-1]}
    assert layers.pop("skeletons") == (1.0, 1.0, 1.0)
    assert set(layers) == {"em", "points", "synapses", "synapses to post"}
    assert set(layers.values()) == {(30.0, 2.0, 2.0)}
    assert calls[1][2]["translate"] == (30.0, 2.0, 2.0)


def test_synapses_and_skeletons_are_lines_from_zyx_to_zyx(calls: list[Any]) -> None:
    pre, post = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[4, 5, 0], [1, 2, 9]])
    synapses = Synapses(pre, post, np.array([1, 0]))
    vertices = np.array([[10, 20, 30], [40, 20, 30]], np.float32)  # x, y, z
    show({"s": synapses, "k": {7: Skeleton(vertices, np.array([[0, 1]], np.uint32))}}, "")
    (_, lines, _), (_, sites, _), (_, bones, _) = calls[1:-1]
    assert lines.tolist() == [[[4, 5, 6], [0, 0, -6]], [[1, 2, 3], [0, 0, 6]]]
    assert sites.tolist() == pre.tolist()
    assert bones.tolist() == [[[30, 20, 10], [0, 0, 30]]]


def test_no_skeletons_are_an_empty_layer(calls: list[Any]) -> None:
    show({"k": {}}, "")
    assert calls[1][1].shape == (0, 2, 3)


def test_other_values_are_refused_before_the_window_is_shown(calls: list[Any]) -> None:
    text = "'a' is a list; napari shows chunks, synapses, points and skeletons"
    with pytest.raises(ChunkMismatch, match=text):
        show({"a": [1, 2]}, "")
    assert ("run",) not in calls


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"])
def test_each_kind_of_screen_will_do(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    message = r"viewer: screen: is missing, .*\n +show .* in a browser"
    with pytest.raises(ConfigError, match=message):
        check_screen()
    monkeypatch.setenv(variable, "x")
    check_screen()


def test_other_systems_always_have_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    check_screen()
