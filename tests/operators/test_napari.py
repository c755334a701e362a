"""napari: the layers that the operator adds.

napari is heavy and needs a screen, so these tests replace it with a double that has only the
methods the operator calls. They accept the arguments of napari 0.6 and refuse all others.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from osteoid import Skeleton

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.operators.napari import Napari
from chunkflow_worker.pipeline.chain import Pipeline

PLACE, SIZE = Vec3(-10, 100, 1000), (40.0, 8.0, 4.0)
BYTES = np.random.default_rng(0).integers(0, 255, (2, 3, 4), np.uint8)


@dataclass
class Viewer:
    title: str = "napari"
    layers: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list)

    def add_image(
        self, data: Any, *, name: str, scale: Any, translate: Any, channel_axis: int | None = None
    ) -> None:
        options = {"name": name, "scale": scale, "translate": translate}
        self.layers.append(("image", data, options | {"channel_axis": channel_axis}))

    def add_labels(self, data: Any, *, name: str, scale: Any, translate: Any) -> None:
        assert data.ndim == 3
        assert data.dtype.kind in "bui"
        self.layers.append(("labels", data, {"name": name, "scale": scale, "translate": translate}))

    def add_points(self, data: Any, *, name: str, scale: Any) -> None:
        assert data.ndim == 2
        self.layers.append(("points", data, {"name": name, "scale": scale}))

    def add_vectors(self, data: Any, *, name: str, scale: Any) -> None:
        assert data.shape[1:] == (2, 3), "each vector is a start and a direction"
        self.layers.append(("vectors", data, {"name": name, "scale": scale}))


@pytest.fixture
def windows(monkeypatch) -> list[Viewer]:
    """The windows that were open when `napari.run` was called.

    The real `napari.run` returns when the user closes the last window.
    """
    opened: list[Viewer] = []
    ran: list[Viewer] = []
    napari: Any = types.ModuleType("napari")

    def make(title: str = "napari") -> Viewer:
        opened.append(Viewer(title))
        return opened[-1]

    napari.Viewer, napari.run = make, lambda: ran.extend(opened)
    monkeypatch.setitem(sys.modules, "napari", napari)
    monkeypatch.setenv("DISPLAY", ":0")
    return ran


def test_an_image_layer_has_its_offset_in_nanometres(run_step, windows) -> None:
    run_step(
        Napari(),
        bbox=BoundingBox.parse("-10--8_100-103_1000-1004"),
        chunk=Chunk(BYTES, PLACE, SIZE),
    )
    [window] = windows
    assert window.title == "chunk of -10--8_100-103_1000-1004"
    [(kind, data, options)] = window.layers
    assert (kind, options["name"], options["scale"]) == ("image", "chunk", SIZE)
    assert data is not None
    assert np.array_equal(data, BYTES)
    assert options["translate"] == (-400.0, 800.0, 4000.0)
    assert options["channel_axis"] is None


def test_channels_become_layers_and_the_voxel_size_option_scales_and_moves_them(
    run_step, windows
) -> None:
    ids = Chunk(BYTES[np.newaxis], PLACE, SIZE, "segmentation")
    run_step(
        Napari(inputs="map, ids", voxel_size=(30, 2, 2)),
        map=Chunk(np.stack([BYTES] * 2), PLACE, SIZE),
        ids=ids,
    )
    (first, stack, of_stack), (second, labels, of_labels) = windows[0].layers
    assert (first, of_stack["channel_axis"], stack.shape) == ("image", 0, (2, 2, 3, 4))
    assert (second, labels.shape) == ("labels", (2, 3, 4))
    for options in (of_stack, of_labels):
        assert (options["scale"], options["translate"]) == ((30, 2, 2), (-300, 200, 2000))


@pytest.mark.parametrize("dtype", ["uint32", "int64"])
def test_wide_integers_are_shown_as_labels(run_step, windows, dtype) -> None:
    run_step(Napari(), chunk=Chunk(BYTES.astype(dtype)))
    assert windows[0].layers[0][0] == "labels"


def test_synapses_points_and_skeletons(run_step, windows) -> None:
    pre = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    post = np.array([[1, 2, 9], [4, 5, 0], [4, 6, 9]], np.int32)
    synapses = Synapses(pre, post, np.array([0, 1, 1], np.int32), voxel_size=SIZE)
    vertices = np.array([[10, 20, 30], [40, 20, 30], [40, 50, 30]], np.float32)
    skeletons = {
        7: Skeleton(vertices, np.array([[0, 1], [1, 2]], np.uint32)),
        8: Skeleton(vertices[::-1] + 1, np.array([[0, 1]])),
    }
    run_step(Napari(inputs="s,p,k"), s=synapses, p=Points(pre, (5.0, 6.0, 7.0)), k=skeletons)
    lines, sites, points, bones = windows[0].layers
    assert (lines[0], lines[2]) == ("vectors", {"name": "s to post", "scale": SIZE})
    assert lines[1].tolist() == [
        [[1, 2, 3], [0, 0, 6]],
        [[4, 5, 6], [0, 0, -6]],
        [[4, 5, 6], [0, 1, 3]],
    ]
    assert sites[0] == "points"
    assert sites[1].tolist() == pre.tolist()
    assert sites[2] == {"name": "s", "scale": SIZE}
    assert points[1].tolist() == pre.tolist()
    assert points[2] == {"name": "p", "scale": (5.0, 6.0, 7.0)}
    assert (bones[0], bones[2]) == ("vectors", {"name": "k", "scale": (1.0, 1.0, 1.0)})
    assert bones[1].tolist() == [
        [[30, 20, 10], [0, 0, 30]],
        [[30, 20, 40], [0, 30, 0]],
        [[31, 51, 41], [0, -30, 0]],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "'chunk' is a str; napari shows chunks, synapses, points and skeletons"),
        (None, "there is no value named 'chunk'; made so far: chunk"),
        (
            Chunk(np.ones((1, 1, 1), np.float32), layer_type="segmentation"),
            "is float32 of 1 channels, and a segmentation is needed",
        ),
    ],
)
def test_values_that_napari_cannot_show_are_refused(run_step, windows, value, text) -> None:
    with pytest.raises(ChunkMismatch, match=text):
        run_step(Napari(), chunk=value)
    assert windows == []


def test_a_missing_screen_is_reported_before_the_first_task(windows, monkeypatch) -> None:
    """Without this check, Qt would end the process."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    chain = Pipeline.parse({"operators": [{"op": "create-chunk"}, {"op": "napari"}]})
    with (
        pytest.raises(
            ConfigError,
            match=r"napari: viewer: screen: is missing, so no window can open.*\n"
            r" +show .* in a browser",
        ),
        chain.open(),
    ):
        pass


def test_the_error_for_a_missing_library_names_the_extra(run_step, monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(
        ConfigError,
        match=r'napari: is needed .* not installed\n +pip install "chunkflow-worker\[napari\]"',
    ):
        run_step(Napari(), chunk=Chunk(BYTES))
