from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.connected_components import ConnectedComponents


@pytest.mark.parametrize(("connectivity", "order"), [("6", 1), ("18", 2), ("26", 3)])
def test_components_match_scipy(run_step, connectivity, order: int) -> None:
    from scipy import ndimage

    image = np.random.default_rng(order).random((12, 13, 14)).astype(np.float32)
    truth, count = ndimage.label(image > 0.75, ndimage.generate_binary_structure(3, order))
    made = run_step(
        ConnectedComponents(threshold=0.75, connectivity=connectivity),
        chunk=Chunk(image, Vec3(1, 2, 3)),
    ).chunk("chunk")
    pairs = set(zip(truth.ravel().tolist(), made.array.ravel().tolist(), strict=True))
    assert len(pairs) == count + 1 == len({b for _, b in pairs})
    assert (0, 0) in pairs
    assert made.layer_type == "segmentation"
    assert made.voxel_offset == Vec3(1, 2, 3)
    assert made.dtype == np.uint32


def test_touching_objects_are_not_merged(run_step) -> None:
    ids = Chunk(np.array([[[5, 5, 9, 0, 5]]], np.uint64))
    made = run_step(ConnectedComponents(), chunk=ids).chunk("chunk").array
    assert made[0, 0, 0] == made[0, 0, 1] != made[0, 0, 2]
    assert made[0, 0, 3] == 0
    assert len(set(made.ravel().tolist())) == 4


def test_unsupported_chunks_are_refused(run_step) -> None:
    with pytest.raises(ChunkflowError, match=r"map of float32.*give --threshold"):
        run_step(ConnectedComponents(), chunk=Chunk(np.ones((2, 2, 2), np.float32)))
    with pytest.raises(ChunkflowError, match="3 channels"):
        run_step(ConnectedComponents(), chunk=Chunk(np.ones((3, 2, 2, 2), np.uint8)))
