"""The plugins in examples/plugins, run by the operator `plugin`."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest

from chunkflow_worker.api import (
    BoundingBox,
    BoxOutsideVolume,
    Chunk,
    ChunkMismatch,
    ConfigError,
    DataMissing,
    Run,
    Task,
    Vec3,
)
from chunkflow_worker.operators.plugin import Plugin
from tests.support.paths import DATA, ROOT

PLUGINS = ROOT / "examples" / "plugins"
PINKY = DATA / "pinky100"
RANDOM = np.random.default_rng(8)
FACES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def example(
    name: str, args: str | None = None, output: str | None = "chunk", **options: Any
) -> Plugin:
    return Plugin(
        file=str(PLUGINS / name), input_names="chunk", output_names=output, args=args, **options
    )


@pytest.fixture
def apply(run_step) -> Callable[..., Chunk]:
    """A function that runs a plugin on one chunk and returns the chunk that it makes."""

    def run(name: str, chunk: Chunk, args: str | None = None) -> Chunk:
        return run_step(example(name, args), chunk=chunk).chunk("chunk")

    return run


def test_every_example_is_tested_here() -> None:
    code = Path(__file__).read_text()
    examples = [path.stem for path in PLUGINS.glob("*.py")]
    assert len(examples) == 9
    assert [name for name in examples if f"def test_{name}" not in code] == []


def test_examples_import_what_is_offered_to_authors() -> None:
    modules = {
        node.module
        for path in PLUGINS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    ours = {module for module in modules if module and module.startswith("chunkflow_worker")}
    assert ours == {"chunkflow_worker.api"}


def test_every_example_is_on_the_page_of_plugins() -> None:
    """Named defect of the peer: its package lacks its plugins."""
    page = (PLUGINS.parents[1] / "docs" / "plugins.md").read_text()
    assert [p.stem for p in PLUGINS.glob("*.py") if f"| `{p.stem}` |" not in page] == []


@pytest.mark.parametrize(
    ("args", "size"),
    [(None, (3, 1, 1)), ("size=(1,3,3)", (1, 3, 3)), ("size=(3,3,5);mode=reflect", (3, 3, 5))],
)
@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 4, 5)])
def test_median_filter(apply, args: str | None, size: tuple, shape: tuple) -> None:
    image = RANDOM.integers(0, 255, shape, np.uint8)
    chunk = Chunk(image.copy(), Vec3(4, 5, 6), (40.0, 8.0, 8.0))
    result = apply("median_filter", chunk, args)
    assert (result.dtype, result.bbox, result.voxel_size) == (
        np.uint8,
        chunk.bbox,
        chunk.voxel_size,
    )
    half = [s // 2 for s in size]
    for channel, made in zip(chunk.czyx, result.czyx, strict=True):
        padded = np.pad(channel, [(h, h) for h in half], mode="symmetric")
        for z, y, x in product(*map(range, channel.shape)):
            window = padded[z : z + size[0], y : y + size[1], x : x + size[2]]
            assert made[z, y, x] == median(window.ravel().tolist())
    assert np.array_equal(chunk.array, image)


def test_median_filter_with_its_margin_does_not_show_where_boxes_are_cut(run_step) -> None:
    whole = Chunk(RANDOM.integers(0, 255, (6, 16, 16), np.uint8))
    operator = example("median_filter", "size=(3,5,5)", margin_size=Vec3(1, 2, 2))
    box = BoundingBox.parse("2-4_5-9_6-12")
    needed = whole.cutout(operator.input_box(box, whole.bbox))
    part = run_step(operator, chunk=needed).chunk("chunk")
    everything = run_step(operator, chunk=whole).chunk("chunk")
    assert np.array_equal(part.cutout(box).array, everything.cutout(box).array)


def equalized(section: np.ndarray) -> np.ndarray:
    """Histogram equalization by its definition: a grey's rank among the voxels."""
    share = {grey: (section <= grey).mean() for grey in np.unique(section)}
    least = share[section.min()]
    greys = [255 * (share[grey] - least) / (1 - least) for grey in section.ravel()]
    return np.array(greys).reshape(section.shape)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 2, 16, 16)])
def test_clahe_with_one_tile_and_no_limit_is_histogram_equalization(apply, shape: tuple) -> None:
    image = (RANDOM.normal(100, 25, shape).clip(0, 255)).astype(np.uint8)
    chunk = Chunk(image.copy(), Vec3(1, 2, 3), (40.0, 8.0, 8.0))
    result = apply("clahe", chunk, "tile=16;clip_limit=1")
    assert (result.dtype, result.bbox, result.voxel_size) == (
        np.uint8,
        chunk.bbox,
        chunk.voxel_size,
    )
    assert np.array_equal(chunk.array, image)
    for old, new in zip(image.reshape(-1, 16, 16), result.array.reshape(-1, 16, 16), strict=True):
        np.testing.assert_allclose(new, equalized(old), atol=0.6)


def test_clahe_raises_the_contrast_where_it_is_low_and_limits_it(apply) -> None:
    faint = RANDOM.integers(100, 110, (1, 64, 64)).astype(np.uint8)
    strong = RANDOM.integers(0, 256, (1, 64, 64)).astype(np.uint8)
    image = Chunk(np.concatenate([faint, strong], axis=2))
    spread = {}
    for limit in (0.005, 0.02, 1):
        result = apply("clahe", image, f"tile=32;clip_limit={limit}").array
        spread[limit] = result[0, :, :32].std()
    assert faint.std() < spread[0.005] < spread[0.02] < spread[1]
    assert spread[1] == pytest.approx(255 / 12**0.5, rel=0.1), "that of an even distribution"


def test_clahe_leaves_blank_sections_and_refuses_other_types(apply) -> None:
    blank = np.full((2, 8, 8), 9, np.uint8)
    assert np.array_equal(apply("clahe", Chunk(blank)).array, blank)
    with pytest.raises(ChunkMismatch, match="clahe needs a uint8 image, not float32"):
        apply("clahe", Chunk(blank.astype(np.float32)))


@pytest.mark.skipif(not PINKY.exists(), reason="pinky100 is not in CHUNKFLOW_TEST_DATA")
def test_clahe_on_pinky100(apply) -> None:
    with h5py.File(PINKY / "sample1_input.h5") as h5:
        image = h5["main"][:2]
    result = apply("clahe", Chunk(image), "tile=192;clip_limit=1").array
    for old, new in zip(image, result, strict=True):
        np.testing.assert_allclose(new, equalized(old), atol=0.6)


def test_histogram(run_step, tmp_path: Path) -> None:
    image = RANDOM.integers(0, 256, (4, 6, 8), np.uint8)
    total = np.zeros(256, int)
    for box in BoundingBox.sized((10, 20, 30), image.shape).split(Vec3(2, 6, 4)):
        whole = Chunk(image, Vec3(10, 20, 30))
        task = run_step(
            example("histogram", None, None, output_path=f"{tmp_path}/greys/"),
            chunk=whole.cutout(box),
        )
        assert set(task.values) == {"chunk"}
        content = json.loads((tmp_path / "greys" / f"{box}.json").read_text())
        assert (content["bbox"], content["voxels"], len(content["edges"])) == (
            str(box),
            box.voxels,
            257,
        )
        total += content["counts"]
    assert total.tolist() == [sum(int(v) == grey for v in image.ravel()) for grey in range(256)]
    assert len(list((tmp_path / "greys").iterdir())) == 4


def test_histogram_with_bins_of_its_own_and_without_a_folder(run_step, tmp_path: Path) -> None:
    chunk = Chunk(np.array([[[-0.5, 0, 0.2, 0.5, 0.9, 1, 1.1]]], np.float32))
    operator = example("histogram", "bins=2; high=1.0", None, output_path=f"file://{tmp_path}/")
    run_step(operator, chunk=chunk)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["counts"] == [2, 3]
    file.unlink()
    with operator.open(Run(needed_box=lambda box, bounds: box, dry_run=True)) as step:
        step(Task(values={"chunk": chunk}))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="missing a required argument: 'output_path'"):
        run_step(example("histogram", None, None), chunk=chunk)


def affinities_of(ids: np.ndarray) -> np.ndarray:
    """1 where a voxel and the one before it, along x, y and z, belong to one object; else 0."""
    found = np.zeros((3, *ids.shape), np.float32)
    for z, y, x in np.ndindex(*ids.shape):
        for channel, before in enumerate(((z, y, x - 1), (z, y - 1, x), (z - 1, y, x))):
            if min(before) >= 0 and ids[z, y, x] and ids[before] == ids[z, y, x]:
                found[channel, z, y, x] = 1
    return found


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return (
        len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})
        and (a == 0).sum() == (b == 0).sum()
    )


@pytest.fixture
def objects() -> np.ndarray:
    """Slabs; each pair of neighbours is separated along one axis only."""
    ids = np.zeros((6, 12, 12), np.uint64)
    ids[:, :6, :6], ids[:, :6, 6:], ids[:3, 6:], ids[3:, 6:] = 1, 2, 3, 4
    return ids


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("flip", [True, False])
def test_agglomerate_finds_the_objects_of_their_affinities(
    run_step, objects, dtype, flip: bool
) -> None:
    affinities = affinities_of(objects)[:: 1 if flip else -1]
    given = Chunk(
        (affinities * (255 if dtype == np.uint8 else 1)).astype(dtype),
        Vec3(4, 5, 6),
        (40.0, 8.0, 8.0),
    )
    operator = Plugin(
        file=str(PLUGINS / "agglomerate"),
        input_names="affs",
        output_names="seg",
        args=None if flip else "flip_channel=False",
    )
    result = run_step(operator, affs=given).chunk("seg")
    assert (result.dtype, result.bbox, result.voxel_size, result.layer_type) == (
        np.uint64, given.bbox, given.voxel_size, "segmentation",
    )  # fmt: skip
    assert same_partition(result.array, objects)


def test_agglomerate_merges_fragments_up_to_the_threshold(run_step) -> None:
    """The mean affinities between the fragments are 0.8 and 0.4: their scores are 0.2 and 0.6."""
    fragments = np.repeat(np.array([1, 2, 3], np.uint32), 4)[None, None, :] + np.zeros(
        (4, 4, 1), np.uint32
    )
    affinities = np.ones((3, 4, 4, 12), np.float32)
    affinities[0, :, :, 4], affinities[0, :, :, 8] = 0.8, 0.4
    for threshold, objects in ((0.1, 3), (0.3, 2), (0.7, 1)):
        operator = Plugin(
            file=str(PLUGINS / "agglomerate"),
            input_names="affs,fragments",
            output_names="seg",
            args=f"threshold={threshold}",
        )
        task = run_step(
            operator, affs=Chunk(affinities), fragments=Chunk(fragments, layer_type="segmentation")
        )
        made = task.chunk("seg").array
        assert len(np.unique(made)) == objects
        assert (made[..., :4] == made[..., 4:8]).all() == (objects < 3)
    with pytest.raises(ChunkMismatch, match=r"needs 3 channels .* or one of membranes, not 2"):
        run_step(operator, affs=Chunk(affinities[:2]), fragments=None)
    elsewhere = Chunk(fragments, Vec3(1, 0, 0), layer_type="segmentation")
    with pytest.raises(ChunkMismatch, match="cover different boxes"):
        run_step(operator, affs=Chunk(affinities), fragments=elsewhere)


@pytest.mark.parametrize("axis", range(3))
def test_agglomerate_takes_a_map_of_membranes(run_step, axis: int) -> None:
    membranes = np.zeros((8, 8, 8), np.uint8)
    np.moveaxis(membranes, axis, 0)[4] = 255
    made = run_step(example("agglomerate", "threshold=0.5"), chunk=Chunk(membranes)).chunk("chunk")
    sides = np.moveaxis(made.array, axis, 0)
    assert len(np.unique(sides[:4])) == len(np.unique(sides[5:])) == 1
    assert sides[0, 0, 0] != sides[7, 0, 0]


def test_agglomerate_takes_fragments_with_ids_of_64_bits(run_step) -> None:
    """waterz itself needs memory for every number up to the largest id."""
    ids = np.array([2**64 - 1, 2**60 + 7, 5], np.uint64)
    fragments = np.repeat(ids, 4)[None, None, :] + np.zeros((4, 4, 1), np.uint64)
    affinities = np.ones((3, 4, 4, 12), np.float32)
    affinities[0, :, :, 4], affinities[0, :, :, 8] = 0.8, 0.4
    operator = Plugin(
        file=str(PLUGINS / "agglomerate"),
        input_names="affs,fragments",
        output_names="seg",
        args="threshold=0.3",
    )
    task = run_step(operator, affs=Chunk(affinities), fragments=Chunk(fragments))
    first, second, third = (
        set(task.chunk("seg").array[..., x].ravel().tolist()) for x in (0, 4, 8)
    )
    assert first == second <= {2**64 - 1, 2**60 + 7}
    assert third == {5}
    with pytest.raises(ChunkMismatch, match="smallest id of the segmentation is -7"):
        run_step(operator, affs=Chunk(affinities), fragments=Chunk(-7 * np.ones((4, 4, 12), int)))


@pytest.mark.parametrize("seed", range(5))
def test_fill_holes_fills_what_one_object_encloses(apply, seed: int) -> None:
    """Compared with a flood fill of each region of the background."""
    random = np.random.default_rng(seed)
    ids = random.choice([0, 7, 2**40], (7, 8, 9), p=[0.3, 0.5, 0.2]).astype(np.uint64)
    ids[2:5, 2:6, 2:7] = 7
    ids[3, 3, 3:5] = 0
    expected = ids.copy()
    todo = {tuple(place) for place in np.argwhere(ids == 0).tolist()}
    while todo:
        hole, border, around = [todo.pop()], False, set()
        for z, y, x in hole:
            for dz, dy, dx in FACES:
                n = (z + dz, y + dy, x + dx)
                if not all(0 <= a < b for a, b in zip(n, ids.shape, strict=True)):
                    border = True
                elif n in todo:
                    todo.remove(n)
                    hole.append(n)
                elif ids[n]:
                    around.add(int(ids[n]))
        if not border and len(around) == 1:
            for place in hole:
                expected[place] = next(iter(around))
    chunk = Chunk(ids.copy(), Vec3(1, 2, 3), layer_type="segmentation")
    result = apply("fill_holes", chunk)
    assert result.array[3, 3, 3] == 7
    assert np.array_equal(result.array, expected)
    assert np.array_equal(chunk.array, ids)
    assert (result.dtype, result.bbox, result.layer_type) == (ids.dtype, chunk.bbox, "segmentation")


def test_fill_holes_of_nothing_and_of_one_object(apply) -> None:
    for value in (0, 5):
        full = np.full((3, 3, 3), value, np.uint32)
        assert np.array_equal(apply("fill_holes", Chunk(full)).array, full)


def peaks(array: np.ndarray, distance: int, threshold: float) -> list[tuple[int, ...]]:
    """Voxels above the threshold that no voxel nearby exceeds."""
    found = []
    for place in np.ndindex(*array.shape):
        window = tuple(slice(max(p - distance, 0), p + distance + 1) for p in place)
        if array[place] > threshold and array[place] == array[window].max():
            found.append(place)
    return found


def test_detect_points_finds_each_peak_once_wherever_boxes_are_cut(run_step) -> None:
    array = RANDOM.random((12, 16, 20)).astype(np.float32)
    whole = Chunk(
        array, Vec3(-3, 5, 7), (40.0, 8.0, 8.0), bounds=BoundingBox.parse("-3-9_5-21_7-27")
    )
    operator = Plugin(
        file=str(PLUGINS / "detect_points"), input_names="chunk,bbox", output_names="point_cloud",
        args="min_distance=2;threshold=0.9", margin_size=Vec3(2, 2, 2),
    )  # fmt: skip
    expected = [
        tuple(a + b for a, b in zip(p, (-3, 5, 7), strict=True)) for p in peaks(array, 2, 0.9)
    ]
    assert len(expected) > 5
    found = []
    for box in whole.bbox.split(Vec3(5, 8, 7)):
        needed = whole.cutout(operator.input_box(box, whole.bounds))
        task = run_step(operator, bbox=box, chunk=needed)
        points = task.values["point_cloud"]
        assert points.voxel_size == (40.0, 8.0, 8.0)
        found += [tuple(p) for p in points.array.tolist()]
    assert sorted(found) == expected


def test_detect_points_makes_synapses_of_a_map_of_bytes(run_step) -> None:
    array = np.zeros((5, 5, 9), np.uint8)
    array[2, 2, 2], array[2, 2, 6], array[0, 0, 8] = 255, 102, 51
    operator = Plugin(
        file=str(PLUGINS / "detect_points"),
        input_names="chunk",
        output_names="syns",
        args="min_distance=1;synapses=True",
    )
    found = run_step(operator, chunk=Chunk(array, Vec3(10, 0, 0), (4.0, 4.0, 4.0))).values["syns"]
    assert found.pre.tolist() == [[12, 2, 2], [12, 2, 6]]
    assert found.pre_confidence.tolist() == pytest.approx([1, 0.4])
    assert (len(found.post), found.voxel_size) == (0, (4.0, 4.0, 4.0))
    with pytest.raises(ChunkMismatch, match="needs a map of 1 channel, not 2"):
        run_step(operator, chunk=Chunk(np.zeros((2, 1, 1, 1), np.uint8)))


def test_rescale(apply) -> None:
    greys = Chunk(np.array([[[0, 29, 30, 115, 200, 255]]], np.uint8))
    stretched = apply("rescale", greys, "low=30;high=200").array
    assert stretched.tolist() == [[[0, 0, 0, 128, 255, 255]]]
    inverse = apply("rescale", greys, "new_low=255;new_high=0").array
    assert inverse.tolist() == [[[255, 226, 225, 140, 55, 0]]]
    signed = Chunk(np.array([[[-2, -1, 0, 0.5, 1]]], np.float32))
    made = apply("rescale", signed, "low=-1;high=1;new_high=1").array
    assert (made.dtype, made.tolist()) == (np.float32, [[[0, 0, 0.5, 0.75, 1]]])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 3, 4)])
def test_transpose(apply, shape: tuple) -> None:
    chunk = Chunk(
        RANDOM.random(shape),
        Vec3(1, 2, 3),
        (4.0, 8.0, 40.0),
        bounds=BoundingBox.parse("0-9_1-8_2-7"),
    )
    made = apply("transpose", chunk)
    assert (str(made.bbox), made.voxel_size, str(made.bounds)) == (
        "3-7_2-5_1-3",
        (40.0, 8.0, 4.0),
        "2-7_1-8_0-9",
    )
    for z, y, x in np.ndindex(*shape[-3:]):
        assert np.array_equal(made.array[..., x, y, z], chunk.array[..., z, y, x])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32])
def test_load_mrc(run_step, tmp_path: Path, dtype: type) -> None:
    image = RANDOM.integers(0, 127, (6, 7, 8)).astype(dtype)
    with mrcfile.new(tmp_path / "em.mrc", image) as file:
        file.voxel_size = (80, 90, 400)  # x, y, z in Angstrom
    operator = Plugin(
        file=str(PLUGINS / "load_mrc"),
        input_names="bbox",
        output_names="chunk",
        args=f"path={tmp_path}/em.mrc",
    )
    whole = run_step(operator).chunk("chunk")
    assert (whole.dtype, whole.voxel_size, str(whole.bounds)) == (
        dtype,
        (40.0, 9.0, 8.0),
        "0-6_0-7_0-8",
    )
    assert np.array_equal(whole.array, image)
    part = run_step(operator, bbox=BoundingBox.parse("-1-3_2-5_6-9")).chunk("chunk")
    assert (str(part.bbox), part.array.tolist()) == ("0-3_2-5_6-8", image[:3, 2:5, 6:].tolist())
    with pytest.raises(BoxOutsideVolume, match=r"is outside .*em.mrc, which is 0-6_0-7_0-8"):
        run_step(operator, bbox=BoundingBox.parse("6-7_0-1_0-1"))


def test_load_mrc_of_unsigned_bytes_and_of_a_file_that_is_no_mrc(run_step, tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "em.mrc", np.array([[[-128, -1, 0, 127]]], np.int8)):
        pass
    loads = {"file": str(PLUGINS / "load_mrc"), "input_names": "bbox", "output_names": "chunk"}
    made = run_step(Plugin(**loads, args=f"path={tmp_path}/em.mrc;unsigned=True")).chunk("chunk")
    assert (made.voxel_size, made.array.tolist()) == ((1.0, 1.0, 1.0), [[[128, 255, 0, 127]]])
    (tmp_path / "no.mrc").write_bytes(b"no image")
    for name, reason in (("no", "cannot be read as MRC"), ("absent", "No such file")):
        with pytest.raises(DataMissing, match=reason):
            run_step(Plugin(**loads, args=f"path={tmp_path}/{name}.mrc"))
