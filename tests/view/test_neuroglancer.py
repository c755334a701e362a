"""The real page: its state, its data over the loopback, and what headless Chromium draws of it."""

from __future__ import annotations

import io
import json
import socket
import zlib
from collections.abc import Callable
from http.client import IncompleteRead
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from osteoid import Skeleton

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.view.neuroglancer import serve
from chunkflow_worker.volumes.scene.shading import GREY, PROBABILITY, RGB

Draw = Callable[[Any, int, int], np.ndarray]
OFFSET, VOXEL_SIZE = Vec3(-10, 100, 1000), (40.0, 8.0, 4.0)
RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 255, (5, 6, 7), np.uint8)


def chunk(array: np.ndarray, **changes: Any) -> Chunk:
    return Chunk(array, OFFSET, VOXEL_SIZE, **changes)


def get(viewer: Any, path: str) -> bytes:
    root = viewer.get_viewer_url().partition("/v/")[0]
    with urlopen(f"{root}{path}", timeout=20) as answer:
        return bytes(answer.read())


def layer_of(viewer: Any, name: str) -> dict[str, Any]:
    [layer] = [layer for layer in viewer.state.to_json()["layers"] if layer["name"] == name]
    return dict(layer)


def source_of(viewer: Any, name: str) -> dict[str, Any]:
    [source] = layer_of(viewer, name)["source"]
    return dict(source)


def shown(viewer: Any, name: str) -> tuple[dict[str, Any], np.ndarray]:
    """The info of a volume that the page reads, and its data, channels last."""
    token = source_of(viewer, name)["url"].removeprefix("python://volume/")
    info = json.loads(get(viewer, f"/neuroglancer/info/{token}"))
    axes = len(info["shape"])
    first, last, scale = (",".join(map(str, n)) for n in ([0] * axes, info["shape"], [1] * axes))
    data = get(viewer, f"/neuroglancer/{info['encoding']}/{token}/{scale}/{first}/{last}")
    info["voxelOffset"] = [int(n) for n in info["voxelOffset"]]  # 64 bit numbers travel as text
    return info, np.load(io.BytesIO(zlib.decompress(data)))


def test_an_image_is_served_with_position_size_and_contrast() -> None:
    array = np.clip(RANDOM.normal(1000, 100, (20, 30, 40)), 0, 65535).astype(np.uint16)
    array[0, 0, 0] = 65535  # a hot pixel must not make everything else dark
    with serve({"em": chunk(array)}) as viewer:
        state, layer = viewer.state.to_json(), layer_of(viewer, "em")
        info, data = shown(viewer, "em")
    assert state["dimensions"] == {"x": [4e-9, "m"], "y": [8e-9, "m"], "z": [4e-8, "m"]}
    assert state["position"] == [1020, 115, 0]
    assert (layer["type"], layer["shader"], layer["opacity"]) == ("image", GREY, 1)
    low, high = layer["shaderControls"]["normalized"]["range"]
    assert (low, high) == (round(np.percentile(array, 1)), round(np.percentile(array, 99)))
    assert info["voxelOffset"] == [1000, 100, -10]
    assert info["coordinateSpace"] == state["dimensions"]
    assert (info["dataType"], info["volumeType"]) == ("uint16", "image")
    assert np.array_equal(data.transpose(), array)
    assert data.dtype == np.uint16


def test_a_segmentation_lies_over_an_image_of_another_voxel_size() -> None:
    ids = RANDOM.integers(0, 2**63, (5, 6, 7)).astype(np.uint64)
    values = {
        "em": Chunk(BYTES, voxel_size=(80.0, 16.0, 8.0)),
        "objects": chunk(ids, layer_type="segmentation"),
    }
    with serve(values) as viewer:
        assert [layer["name"] for layer in viewer.state.to_json()["layers"]] == ["em", "objects"]
        assert layer_of(viewer, "objects")["type"] == "segmentation"
        info, data = shown(viewer, "objects")
    assert info["coordinateSpace"] == {"x": [4e-9, "m"], "y": [8e-9, "m"], "z": [4e-8, "m"]}
    assert (info["dataType"], info["volumeType"]) == ("uint64", "segmentation")
    assert np.array_equal(data.transpose(), ids)


@pytest.mark.parametrize(
    ("array", "shader", "controls", "channels"),
    [
        (RANDOM.random((2, 3, 4), np.float32), PROBABILITY, {"probability": [0, 1]}, []),
        (RANDOM.random((2, 2, 3, 4), np.float32), PROBABILITY, {"probability": [0, 1]}, ["c'"]),
        (
            RANDOM.random((3, 2, 3, 4), np.float32),
            RGB,
            {"red": [0, 1], "green": [0, 1], "blue": [0, 1]},
            ["c^"],
        ),
        (
            np.stack([BYTES] * 2),
            GREY,
            {"normalized": np.percentile(BYTES, [1, 99]).round().tolist()},
            ["c'"],
        ),
        (
            BYTES[np.newaxis],
            GREY,
            {"normalized": np.percentile(BYTES, [1, 99]).round().tolist()},
            [],
        ),
        (np.full((2, 3, 4), 7, np.uint8), GREY, {"normalized": [7, 8]}, []),
        (np.array([[[-1, np.nan, 3]]], np.float64), GREY, {"normalized": [-0.96, 2.96]}, []),
        (np.full((1, 1, 2), np.nan, np.float32), GREY, {"normalized": [0, 1]}, []),
    ],
)
def test_each_kind_of_image_has_its_shader(array, shader, controls, channels) -> None:
    with serve({"a": chunk(array)}) as viewer:
        layer = layer_of(viewer, "a")
        info, data = shown(viewer, "a")
    assert layer["shader"] == shader
    assert {
        name: pytest.approx(control["range"]) for name, control in layer["shaderControls"].items()
    } == controls
    assert list(info["coordinateSpace"]) == ["x", "y", "z", *channels]
    assert layer.get("localPosition") == ([0] if channels == ["c'"] else None)
    assert info["voxelOffset"] == [1000, 100, -10, *[0 for _ in channels]]
    expected = array if channels or array.ndim == 3 else array[0]
    assert np.array_equal(data.transpose(), expected, equal_nan=expected.dtype.kind == "f")


BIG = BYTES.astype(np.uint16) * np.uint16(100)


@pytest.mark.parametrize(
    ("array", "limits"),
    [
        (BYTES // 2, [0, 255]),
        ((BYTES > 99).astype(np.uint8), [0, 1]),
        (BYTES > 99, [0, 1]),
        (BIG, [0, int(BIG.max())]),
        (RANDOM.random((2, 3, 4), np.float32), [0, 1]),
        (np.zeros((2, 3, 4), np.uint8), [0, 1]),
        (np.stack([BYTES] * 2), [0, 255]),
    ],
)
@pytest.mark.parametrize("below", [BYTES, BYTES.astype(np.uint64)])
def test_a_map_of_any_type_over_a_chunk_does_not_hide_it(array, limits, below) -> None:
    with serve({"below": chunk(below), "map": chunk(array)}) as viewer:
        layer = layer_of(viewer, "map")
        assert layer_of(viewer, "below").get("shader") in (GREY, None)
    assert layer["shader"] == PROBABILITY
    assert layer["shaderControls"]["probability"]["range"] == limits


@pytest.mark.parametrize(
    ("dtype", "kind", "served_as"),
    [
        ("bool", "image", "uint8"),
        ("int8", "image", "int8"),
        ("int16", "image", "int16"),
        ("float16", "image", "float32"),
        ("float64", "image", "float32"),
        ("uint32", "segmentation", "uint32"),
        ("int32", "segmentation", "uint32"),
        ("int64", "segmentation", "uint64"),
    ],
)
def test_types_become_those_that_the_page_knows(dtype, kind, served_as) -> None:
    array = (BYTES // 50).astype(dtype)
    with serve({"a": chunk(array)}) as viewer:
        info, data = shown(viewer, "a")
    assert (info["volumeType"], info["dataType"], data.dtype) == (kind, served_as, served_as)
    assert np.array_equal(data.transpose(), array)


@pytest.mark.parametrize(
    ("dtype", "served_as"),
    [("uint32", "uint32"), ("int32", "int32"), ("uint64", "float32"), ("int64", "float32")],
)
def test_wide_integers_may_be_an_image(dtype: str, served_as: str) -> None:
    array = BYTES.astype(dtype)
    with serve({"a": Chunk(array, is_image=True)}) as viewer:
        info, data = shown(viewer, "a")
    assert (info["volumeType"], info["dataType"]) == ("image", served_as)
    assert np.array_equal(data.transpose(), array)


def test_a_given_voxel_size_holds_for_all() -> None:
    values = {"em": chunk(BYTES), "p": Points(np.zeros((1, 3)), (5.0, 5.0, 5.0))}
    with serve(values, voxel_size=(30.0, 7.5, 2.0)) as viewer:
        dimensions = viewer.state.to_json()["dimensions"]
        assert {name: pytest.approx(scale) for name, (scale, _) in dimensions.items()} == {
            "x": 2e-9,
            "y": 7.5e-9,
            "z": 3e-8,
        }
        assert shown(viewer, "em")[0]["coordinateSpace"] == dimensions
        assert source_of(viewer, "p")["transform"]["outputDimensions"] == dimensions


def test_points_and_synapses_are_annotations_in_the_middle_of_their_voxels() -> None:
    pre, post = (
        np.array([[1, 2, 3], [4, 5, 6]], np.int32),
        np.array([[1, 2, 9], [4, 5, 0], [4, 5, 9]], np.int32),
    )
    synapses = Synapses(pre, post, np.array([0, 1, 1], np.int32), voxel_size=VOXEL_SIZE)
    with serve({"s": synapses, "p": Points(np.array([[1.0, 2.0, 3.5]]), VOXEL_SIZE)}) as viewer:
        layer, points, source = layer_of(viewer, "s"), layer_of(viewer, "p"), source_of(viewer, "s")
    assert layer["type"] == points["type"] == "annotation"
    dimensions = {"x": [4e-9, "m"], "y": [8e-9, "m"], "z": [4e-8, "m"]}
    assert source["transform"]["outputDimensions"] == dimensions
    assert [a["point"] for a in layer["annotations"] if a["type"] == "point"] == [
        [3.5, 2.5, 1.5],
        [6.5, 5.5, 4.5],
    ]
    lines = [(a["pointA"], a["pointB"]) for a in layer["annotations"] if a["type"] == "line"]
    assert lines == [
        ([3.5, 2.5, 1.5], [9.5, 2.5, 1.5]),
        ([6.5, 5.5, 4.5], [0.5, 5.5, 4.5]),
        ([6.5, 5.5, 4.5], [9.5, 5.5, 4.5]),
    ]
    assert [a["point"] for a in points["annotations"]] == [[4.0, 2.5, 1.5]]


def test_skeletons_are_served_by_object_in_nanometres() -> None:
    vertices = np.array([[10, 20, 30], [40, 20, 30], [40, 50, 30]], np.float32)
    with serve({"skels": {7: Skeleton(vertices, np.array([[0, 1], [1, 2]], np.uint32))}}) as viewer:
        layer = layer_of(viewer, "skels")
        key = source_of(viewer, "skels")["url"].removeprefix("python://skeleton/")
        encoded = get(viewer, f"/neuroglancer/skeleton/{key}/7")
        info = json.loads(get(viewer, f"/neuroglancer/skeletoninfo/{key}"))
    assert layer["segments"] == ["7"]
    assert info["coordinateSpace"] == {"x": [1e-9, "m"], "y": [1e-9, "m"], "z": [1e-9, "m"]}
    assert np.frombuffer(encoded[:8], "<u4").tolist() == [3, 2]
    assert np.frombuffer(encoded[8:44], "<f4").reshape(3, 3).tolist() == vertices.tolist()
    assert np.frombuffer(encoded[44:], "<u4").tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "'a' is a str; the page shows chunks, synapses, points and skeletons"),
        (None, "'a' is a NoneType"),
        (
            chunk(np.ones((1, 1, 1), np.float32), layer_type="segmentation"),
            "is float32 of 1 channels, and a segmentation is needed",
        ),
        (
            chunk(np.ones((2, 1, 1, 1), np.uint32)),
            "is uint32 of 2 channels, and a segmentation is needed",
        ),
        (chunk(np.ones((1, 1, 1), np.complex64)), "'a' holds complex64"),
    ],
)
def test_values_that_the_page_cannot_show_are_refused(value, text) -> None:
    with pytest.raises(ChunkMismatch, match=text), serve({"a": value}):
        pass


def test_only_this_machine_reaches_the_page_and_it_ends_while_a_browser_listens() -> None:
    with serve({"a": chunk(BYTES)}) as viewer:
        address = viewer.get_viewer_url()
        assert address.startswith("http://127.0.0.1:")
        assert b"<html" in get(viewer, f"/v/{viewer.token}/").lower()
        assert not viewer.allow_credentials
        events = urlopen(
            f"{address.partition('/v/')[0]}/events/{viewer.token}?c=page&gc=none&gs=none",
            timeout=20,
        )
    with events, pytest.raises(IncompleteRead) as cut_off:
        events.read()
    assert b"data:" in cut_off.value.partial
    with pytest.raises(URLError, match="refused"):
        urlopen(address, timeout=20)


def test_a_port_can_be_chosen_and_one_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"port {port}: can't be used: Address already in use"),
            serve({}, port=port),
        ):
            pass
    for _ in range(2):
        with serve({"a": chunk(BYTES)}, port=port) as viewer:
            assert viewer.get_viewer_url().startswith(f"http://127.0.0.1:{port}/v/")
            get(viewer, f"/v/{viewer.token}/")


WIDTH, HEIGHT = 600, 500


def picture(viewer: Any, drawn: Draw) -> np.ndarray:
    """The section in the middle as Chromium draws it, one pixel for each 4 nm."""
    with viewer.txn() as state:
        state.layout, state.cross_section_scale, state.cross_section_background_color = (
            "xy",
            1,
            "#000000",
        )
        state.show_axis_lines = state.show_scale_bar = state.show_default_annotations = False
    return drawn(viewer, WIDTH, HEIGHT)


@pytest.mark.long
def test_the_page_shows_image_and_segmentation(drawn: Draw) -> None:
    z, y, x = np.mgrid[:32, :100, :160]
    array = ((x * 3 + y * 5 + z * 7) % 200 + 20).astype(np.uint8)
    ids = np.zeros(array.shape, np.uint32)
    ids[:, 10:50, 20:60], ids[:, 60:90, 80:140] = 7, 2**31 + 5
    with serve({"em": chunk(array), "objects": chunk(ids, layer_type="segmentation")}) as viewer:
        [low, high] = layer_of(viewer, "em")["shaderControls"]["normalized"]["range"]
        shown = picture(viewer, drawn)
    # Chunk and picture have the same centre. A voxel is 8 nm in y, and so 2 pixels, and 4 nm in x.
    shown = shown[HEIGHT // 2 - 100 : HEIGHT // 2 + 100, WIDTH // 2 - 80 : WIDTH // 2 + 80]
    grey = np.clip((array[16].astype(float) - low) / (high - low), 0, 1).repeat(2, axis=0) * 255
    objects = ids[16].repeat(2, axis=0)
    outside = objects == 0
    assert np.abs(shown[outside] - grey[outside, np.newaxis]).max() <= 2
    colours = []
    for object_id in (7, 2**31 + 5):
        inside = objects == object_id
        colour = 2 * shown[inside] - grey[inside, np.newaxis]  # it covers the image by half
        assert colour.std(axis=0).max() < 2, "one object has one colour"
        colours.append(colour.mean(axis=0))
    assert all(np.ptp(colour) > 60 for colour in colours), "and it is not grey"
    assert np.abs(colours[0] - colours[1]).max() > 60, "each object has its own"


def test_the_page_shows_maps_synapses_and_skeletons(drawn: Draw) -> None:
    """Four tiles of one section: each has its colours, so its shader compiles and it lies right."""
    y, x = np.mgrid[:50, :100] / np.array([49, 99]).reshape(2, 1, 1)
    maps = {
        (0, 0): x,
        (0, 100): np.stack([x, y, 1 - x]),
        (50, 0): np.stack([1 - x, x]),  # the first channel is shown first
        (50, 100): x * 8 - 4,
    }
    values: dict[str, Any] = {"whole": Chunk(np.zeros((4, 100, 200), bool), voxel_size=VOXEL_SIZE)}
    for (top, left), section in maps.items():
        array = np.stack([section.astype(np.float32)] * 4, axis=-3)
        values[f"{top} {left}"] = Chunk(array, Vec3(0, top, left), VOXEL_SIZE)
    pre, post, parent = (
        np.array([[2, 20, 20]], np.int32),
        np.array([[2, 20, 80]], np.int32),
        np.zeros(1, np.int32),
    )
    values["synapses"] = Synapses(pre, post, parent, voxel_size=VOXEL_SIZE)
    nodes = np.array([[80.5, 80.5, 2.5], [20.5, 80.5, 2.5]], np.float32) * VOXEL_SIZE[::-1]
    values["skels"] = {3: Skeleton(nodes.astype(np.float32), np.array([[0, 1]], np.uint32))}
    with serve(values) as viewer:
        [low, high] = layer_of(viewer, "50 100")["shaderControls"]["probability"]["range"]
        shown = picture(viewer, drawn)
    shown = shown[HEIGHT // 2 - 100 : HEIGHT // 2 + 100, WIDTH // 2 - 100 : WIDTH // 2 + 100]
    shown = (shown[::2] + shown[1::2]) // 2  # y is drawn at 2 pixels a voxel

    orange = np.array([255, 128, 0])
    expected = {
        (0, 0): x[..., np.newaxis] * orange,
        (0, 100): np.stack([x, y, 1 - x], axis=-1) * 127.5,  # it covers what lies below by half
        (50, 0): (1 - x)[..., np.newaxis] * orange,
        (50, 100): np.clip((x * 8 - 4 - low) / (high - low), 0, 1)[..., np.newaxis] * orange,
    }
    for (top, left), colours in expected.items():
        tile = shown[top : top + 50, left : left + 100]
        free = np.ones((50, 100), bool)
        if left == 0:
            free[10:40, 10:90] = False  # a line crosses it
        assert np.abs(tile - colours)[free].max() <= 4, (top, left)
    for middle, name in ((20, "the synapse"), (80, "the skeleton")):
        line = shown[middle, 25:75] - shown[middle - 8, 25:75]
        assert (np.abs(line).max(axis=1) > 40).all(), f"{name} is drawn from end to end"
