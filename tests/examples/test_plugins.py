"""The plugins in examples/plugins, run by the operator."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.chunk import Chunk
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.operator import Run
from chunkflow_worker.operators.plugin import Plugin
from chunkflow_worker.task import Task

PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"
PINKY = Path(os.environ.get("CHUNKFLOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pinky100"
RANDOM = np.random.default_rng(8)


def example(name: str, args: str | None = None, output: str | None = "chunk", **options: Any) -> Plugin:
    return Plugin(file=str(PLUGINS / name), input_names="chunk", output_names=output, args=args, **options)


def test_every_example_is_tested_here() -> None:
    assert {p.stem for p in PLUGINS.glob("*.py")} == {"median_filter", "clahe", "histogram"}


@pytest.mark.parametrize(
    ("args", "size"), [(None, (3, 1, 1)), ("size=(1,3,3)", (1, 3, 3)), ("size=(3,3,5);mode=reflect", (3, 3, 5))]
)
@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 4, 5)])
def test_median_filter(run_step, args: str | None, size: tuple, shape: tuple) -> None:
    image = RANDOM.integers(0, 255, shape, np.uint8)
    chunk = Chunk(image.copy(), Vec3(4, 5, 6), (40.0, 8.0, 8.0))
    result = run_step(example("median_filter", args), chunk=chunk).chunk("chunk")
    assert (result.dtype, result.bbox, result.voxel_size) == (np.uint8, chunk.bbox, chunk.voxel_size)
    half = [s // 2 for s in size]
    for channel, made in zip(chunk.czyx, result.czyx, strict=True):
        padded = np.pad(channel, [(h, h) for h in half], mode="symmetric")
        for z, y, x in product(*map(range, channel.shape)):
            window = padded[z : z + size[0], y : y + size[1], x : x + size[2]]
            assert made[z, y, x] == median(window.ravel().tolist())
    assert np.array_equal(chunk.array, image)


def test_with_its_margin_the_median_does_not_show_where_boxes_are_cut(run_step) -> None:
    whole = Chunk(RANDOM.integers(0, 255, (6, 16, 16), np.uint8))
    operator = example("median_filter", "size=(3,5,5)", margin_size=Vec3(1, 2, 2))
    box = BoundingBox.parse("2-4_5-9_6-12")
    part = run_step(operator, chunk=whole.cutout(operator.context(box, whole.bbox))).chunk("chunk")
    everything = run_step(operator, chunk=whole).chunk("chunk")
    assert np.array_equal(part.cutout(box).array, everything.cutout(box).array)


def equalized(section: np.ndarray) -> np.ndarray:
    """Histogram equalization by its definition: a grey's rank among the voxels."""
    share = {grey: (section <= grey).mean() for grey in np.unique(section)}
    least = share[section.min()]
    return np.array([255 * (share[g] - least) / (1 - least) for g in section.ravel()]).reshape(section.shape)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 2, 16, 16)])
def test_clahe_with_one_tile_and_no_limit_is_histogram_equalization(run_step, shape: tuple) -> None:
    image = (RANDOM.normal(100, 25, shape).clip(0, 255)).astype(np.uint8)
    chunk = Chunk(image.copy(), Vec3(1, 2, 3), (40.0, 8.0, 8.0))
    result = run_step(example("clahe", "tile=16;clip_limit=1"), chunk=chunk).chunk("chunk")
    assert (result.dtype, result.bbox, result.voxel_size) == (np.uint8, chunk.bbox, chunk.voxel_size)
    assert np.array_equal(chunk.array, image)
    for old, new in zip(image.reshape(-1, 16, 16), result.array.reshape(-1, 16, 16), strict=True):
        np.testing.assert_allclose(new, equalized(old), atol=0.6)


def test_clahe_raises_the_contrast_where_it_is_low_and_limits_it(run_step) -> None:
    flat = RANDOM.integers(100, 110, (1, 64, 64)).astype(np.uint8)
    image = np.concatenate([flat, RANDOM.integers(0, 256, (1, 64, 64)).astype(np.uint8)], axis=2)  # faint beside strong
    spread = {}
    for limit in (0.005, 0.02, 1):
        result = run_step(example("clahe", f"tile=32;clip_limit={limit}"), chunk=Chunk(image)).chunk("chunk").array
        spread[limit] = result[0, :, :32].std()
    assert flat.std() < spread[0.005] < spread[0.02] < spread[1]
    assert spread[1] == pytest.approx(255 / 12**0.5, rel=0.1)  # of an even distribution


def test_clahe_leaves_blank_sections_and_refuses_other_types(run_step) -> None:
    blank = np.full((2, 8, 8), 9, np.uint8)
    assert np.array_equal(run_step(example("clahe"), chunk=Chunk(blank)).chunk("chunk").array, blank)
    with pytest.raises(ChunkMismatch, match="clahe takes grey values of type uint8, not float32"):
        run_step(example("clahe"), chunk=Chunk(blank.astype(np.float32)))


@pytest.mark.skipif(not PINKY.exists(), reason="pinky100 is not in CHUNKFLOW_TEST_DATA")
def test_clahe_on_pinky100(run_step) -> None:
    with h5py.File(PINKY / "sample1_input.h5") as h5:
        image = h5["main"][:2]
    result = run_step(example("clahe", "tile=192;clip_limit=1"), chunk=Chunk(image)).chunk("chunk").array
    for old, new in zip(image, result, strict=True):
        np.testing.assert_allclose(new, equalized(old), atol=0.6)


def test_histogram(run_step, tmp_path: Path) -> None:
    image = RANDOM.integers(0, 256, (4, 6, 8), np.uint8)
    total = np.zeros(256, int)
    for box in BoundingBox.sized((10, 20, 30), image.shape).split(Vec3(2, 6, 4)):
        whole = Chunk(image, Vec3(10, 20, 30))
        task = run_step(example("histogram", f"folder={tmp_path}/greys", None), chunk=whole.cutout(box))
        assert set(task.values) == {"chunk"}
        content = json.loads((tmp_path / "greys" / f"{box}.json").read_text())
        assert (content["bbox"], content["voxels"], len(content["edges"])) == (str(box), box.voxels, 257)
        total += content["counts"]
    assert total.tolist() == [sum(int(v) == grey for v in image.ravel()) for grey in range(256)]
    assert len(list((tmp_path / "greys").iterdir())) == 4


def test_histogram_with_bins_of_its_own_and_without_a_folder(run_step, tmp_path: Path) -> None:
    chunk = Chunk(np.array([[[-0.5, 0, 0.2, 0.5, 0.9, 1, 1.1]]], np.float32))
    operator = example("histogram", f"folder={tmp_path}; bins=2; high=1.0", None)
    run_step(operator, chunk=chunk)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["counts"] == [2, 3]
    file.unlink()
    with operator.open(Run(needed_box=lambda box, bounds: box, dry_run=True)) as step:
        step(Task(values={"chunk": chunk}))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="missing a required argument: 'folder'"):
        run_step(example("histogram", None, None), chunk=chunk)
