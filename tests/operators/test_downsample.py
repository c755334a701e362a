"""Whole chains; tests/image/test_pyramid.py checks the values of coarser voxels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.downsample import Downsample
from chunkflow_worker.operators.save_precomputed import SavePrecomputed
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOUNDS = BoundingBox.parse("0-16_0-64_0-62")
IMAGE = np.random.default_rng(0).integers(1, 250, BOUNDS.size, np.uint8)


def _pooled(image: np.ndarray) -> np.ndarray:
    return np.rint(image.reshape(8, 2, 32, 2, 31, 2).mean(axis=(1, 3, 5)))


def _smoothed(image: np.ndarray) -> np.ndarray:
    return np.rint(ndimage.gaussian_filter(image, 1, truncate=4, axes=(1, 2)))


SMALL = _pooled(IMAGE)


@pytest.fixture
def volumes(volume: Callable[..., PrecomputedVolume]) -> tuple[str, str]:
    """Paths of an image, and of an empty volume at half its resolution with blocks of 4 x 8 x 8."""
    source = volume("in", IMAGE)
    empty = volume(
        "out",
        BoundingBox.parse("0-8_0-32_0-31"),
        dtype="float32",
        voxel_size=(80, 16, 16),
        block_size=Vec3(4, 8, 8),
    )
    return source.path, empty.path


def run_tiles(size: Vec3, operators: list[dict[str, Any]]) -> list[Task]:
    with Pipeline.parse({"operators": operators}).open() as chain:
        tasks = [Task(bbox=box) for box in BOUNDS.split(size)]
        for task in tasks:
            chain.run(task)
    return tasks


def test_the_result_has_the_offset_and_voxel_size_of_the_coarser_level(
    run_step: Callable[..., Task],
) -> None:
    chunk = Chunk(IMAGE[:8, :16, :32], Vec3(8, -16, 32), (40.0, 8.0, 8.0))
    task = run_step(Downsample(output_chunk_name="small"), chunk=chunk)
    small = task.chunk("small")
    assert small.bbox == BoundingBox.parse("4-8_-8-0_16-32")
    assert small.voxel_size == (80.0, 16.0, 16.0)
    assert np.array_equal(small.array, SMALL[:4, :8, :16])
    assert task.chunk("chunk").array.shape == (8, 16, 32)


def test_a_segmentation_keeps_its_ids(run_step: Callable[..., Task]) -> None:
    """chunkflow 1.2.0 recognised ids by their dtype: it averaged 8-bit ids to ids that do not
    exist.
    """
    ids = np.array([[[7, 9, 0, 0], [9, 9, 4, 0]]], np.uint8)
    task = run_step(Downsample(factor=Vec3(1, 2, 2)), chunk=Chunk(ids, layer_type="segmentation"))
    assert task.chunk("chunk").array.tolist() == [[[9, 0]]]
    assert task.chunk("chunk").layer_type == "segmentation"


def test_tiles_of_a_volume_fill_its_coarser_level(volumes: tuple[str, str]) -> None:
    source, target = volumes
    load = {"op": "load-precomputed", "volume_path": source}
    save = {"op": "save-precomputed", "volume_path": target}
    tasks = run_tiles(Vec3(8, 16, 32), [load, {"op": "downsample"}, save])
    assert np.allclose(
        PrecomputedVolume(target).read(BoundingBox.parse("0-8_0-32_0-31")), SMALL / 255
    )
    assert str(tasks[-1].bbox) == "8-16_48-64_32-62"
    assert tasks[-1].written[0].bbox == "4-8_24-32_16-31"


@pytest.mark.parametrize("size", [Vec3(16, 16, 16), Vec3(16, 64, 17)])
def test_operators_before_and_after_it_get_their_context(
    volumes: tuple[str, str], size: Vec3
) -> None:
    """The context of a filter after it is counted in coarse voxels. Boxes need not be multiples of
    the factor.
    """
    load = {"op": "load-precomputed", "volume_path": volumes[0]}
    smooth, downsample = {"op": "gaussian-filter"}, {"op": "downsample"}
    for chain, expected in (
        ([load, downsample, smooth], _smoothed(SMALL)),
        ([load, smooth, downsample], _pooled(_smoothed(IMAGE.astype(float)))),
    ):
        for task in run_tiles(size, chain):
            assert task.bbox is not None
            chunk = task.chunk_to_save("chunk")
            assert chunk.bbox == task.bbox.downsample(Vec3(2, 2, 2))
            part = expected[chunk.bbox.slices()]
            assert np.abs(chunk.array - part).max() <= 1  # a half may be rounded up or down
            assert (chunk.array == part).mean() > 0.999


def test_inference_after_it_computes_the_coarse_box(volumes: tuple[str, str]) -> None:
    source, target = volumes
    net = {
        "op": "inference",
        "framework": "identity",
        "input_patch_size": [4, 8, 8],
        "output_patch_overlap": [1, 2, 2],
        "num_output_channels": 1,
    }
    load = {"op": "load-precomputed", "volume_path": source}
    save = {"op": "save-precomputed", "volume_path": target}
    run_tiles(Vec3(8, 32, 32), [load, {"op": "downsample"}, net, {"op": "crop-margin"}, save])
    stored = PrecomputedVolume(target).read(BoundingBox.parse("0-8_0-32_0-31"))
    assert np.allclose(stored, SMALL / 255, atol=1e-5)


def test_later_operators_can_still_use_the_fine_chunk(volumes: tuple[str, str]) -> None:
    load = {"op": "load-precomputed", "volume_path": volumes[0]}
    smooth, small = {"op": "gaussian-filter"}, {"op": "downsample", "output_chunk_name": "small"}
    expected = _smoothed(IMAGE.astype(float))
    for task in run_tiles(Vec3(16, 16, 16), [load, small, smooth]):
        assert task.bbox is not None
        fine, coarse = task.chunk_to_save("chunk"), task.chunk_to_save("small")
        assert (fine.bbox, coarse.bbox) == (task.bbox, task.bbox.downsample(Vec3(2, 2, 2)))
        assert np.abs(fine.array - expected[fine.bbox.slices()]).max() <= 1
        assert np.array_equal(coarse.array, SMALL[coarse.bbox.slices()])


def test_a_hole_in_a_coarse_volume_is_refused(
    volumes: tuple[str, str], run_step: Callable[..., Task]
) -> None:
    task = Task(bbox=BoundingBox.parse("0-8_0-32_0-32"), voxel_size=(40.0, 8.0, 8.0))
    task.values["chunk"] = Chunk(np.ones((4, 8, 16), np.uint8), Vec3(0, 0, 0), (80.0, 16.0, 16.0))
    with pytest.raises(ChunkMismatch, match=r"0-4_0-8_0-16 of the task's 0-4_0-16_0-16"):
        run_step(SavePrecomputed(volume_path=volumes[1]), task)


@pytest.mark.parametrize("factor", [(0, 2, 2), (2, 2), "2"])
def test_a_factor_without_three_numbers_above_0_is_refused(factor: Any) -> None:
    with pytest.raises(ValueError, match="numbers"):
        Downsample(factor=factor)
