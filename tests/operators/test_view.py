"""view: the arguments of the viewer. tests/view/test_microviewer.py checks the page itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.view import View
from chunkflow_worker.pipeline.chain import Pipeline

IMAGE = Chunk(np.zeros((2, 3, 4), np.uint8), Vec3(1, 2, 3), (40.0, 8.0, 4.0))
IDS = Chunk(np.ones((2, 3, 4), np.uint32), Vec3(1, 2, 3), (40.0, 8.0, 4.0), "segmentation")


@pytest.fixture
def shown(monkeypatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr("chunkflow_worker.view.microviewer.show", lambda *args: calls.append(args))
    return calls


def test_an_image_is_shown_with_its_offset_and_voxel_size(run_step, shown) -> None:
    run_step(View(), chunk=IMAGE)
    [(image, segmentation, voxel_size, offset)] = shown
    assert image is IMAGE.array
    assert segmentation is None
    assert (voxel_size, offset) == ((40.0, 8.0, 4.0), (1, 2, 3))


def test_a_segmentation_is_shown_over_the_image(run_step, shown) -> None:
    run_step(View(image_chunk_name="a", segmentation_chunk_name="b"), a=IMAGE, b=IDS)
    assert shown[0][0] is IMAGE.array
    assert shown[0][1] is IDS.array


def test_a_segmentation_alone_is_shown_without_an_image(run_step, shown) -> None:
    run_step(View(), chunk=IDS)
    run_step(View(), chunk=Chunk(IDS.array))  # no file said what they are
    for image, segmentation, *_ in shown:
        assert image is None
        assert segmentation is IDS.array
    run_step(View(), chunk=Chunk(IDS.array, is_image=True))
    assert shown[2][0] is IDS.array


def test_a_segmentation_of_another_box_or_of_floats_is_refused(run_step, shown) -> None:
    moved = Chunk(IDS.array, Vec3(0, 2, 3))
    with pytest.raises(
        ChunkMismatch,
        match="'chunk' is 1-3_2-5_3-7 and 'b' is 0-2_2-5_3-7: they must cover the same box",
    ):
        run_step(View(segmentation_chunk_name="b"), chunk=IMAGE, b=moved)
    floats = Chunk(np.ones((2, 3, 4), np.float32), Vec3(1, 2, 3))
    with pytest.raises(
        ChunkMismatch, match="'b' is float32 of 1 channels, and a segmentation is needed"
    ):
        run_step(View(segmentation_chunk_name="b"), chunk=IMAGE, b=floats)
    two_channels = IDS.with_array(np.stack([IDS.array] * 2))
    with pytest.raises(ChunkMismatch, match="'b' is uint32 of 2 channels"):
        run_step(View(segmentation_chunk_name="b"), chunk=IMAGE, b=two_channels)
    assert shown == []


def test_missing_values_are_an_error() -> None:
    with pytest.raises(ConfigError, match="reads 'b', which no operator before it makes"):
        Pipeline.parse(
            {"operators": [{"op": "create-chunk"}, {"op": "view", "segmentation_chunk_name": "b"}]}
        )
