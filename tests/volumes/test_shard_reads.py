"""A box out of a shard costs little more than its own bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from tests.support.web_server import web_server

SIZE = Vec3(256, 256, 256)
BOX = BoundingBox.sized((0, 128, 128), (128, 128, 128))


@pytest.mark.parametrize("prefix", ["precomputed://", "zarr3://"])
def test_a_box_moves_the_index_and_its_blocks(tmp_path: Path, prefix: str) -> None:
    address = f"{prefix}file://{tmp_path}/v"
    bounds = BoundingBox.sized((0, 0, 0), SIZE)
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": (10, 10, 10), "dtype": "uint8"}
    create_volume(address, **shape, block_size=Vec3(32, 32, 32), shard_size=SIZE)
    noise = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)  # does not compress
    open_volume(address).write(bounds, noise)
    [shard] = (p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > BOX.voxels)
    with web_server(tmp_path) as server:
        volume = open_volume(f"{prefix}{server.address}/v")
        server.sent.clear()
        assert np.array_equal(volume.read(BOX), noise[BOX.slices()])
        moved = server.sent[str(shard.relative_to(tmp_path))]
    assert BOX.voxels <= moved < 1.01 * BOX.voxels
