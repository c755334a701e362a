"""A chunk that covers only a part of its box is refused, with the cure for what made it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.downsample_upload import DownsampleUpload
from chunkflow_worker.operators.save_precomputed import SavePrecomputed
from chunkflow_worker.operators.save_zarr import SaveZarr
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

SIZE = (40.0, 8.0, 8.0)


@pytest.mark.parametrize(
    ("device", "cure"),
    [
        ("", "the output volume must not be larger than what the chain produces"),
        ("CPU", "let the net compute the border of the image too, by --border zeros or reflect"),
    ],
)
@pytest.mark.parametrize("operator", ["save-precomputed", "save-zarr", "downsample-upload"])
def test_the_cure_fits_what_made_the_chunk(
    volume: Any, tmp_path: Any, operator: str, device: str, cure: str
) -> None:
    stored = volume("v", np.zeros((16, 32, 32), np.uint8), voxel_size=SIZE)
    saver = {
        "save-precomputed": SavePrecomputed(volume_path=stored.path),
        "save-zarr": SaveZarr(
            store=f"{tmp_path}/z.zarr", shape=(16, 32, 32), chunk_size=(16, 32, 32)
        ),
        "downsample-upload": DownsampleUpload(
            volume_path=stored.path, start_mip=0, stop_mip=1, factor=(1, 1, 1)
        ),
    }[operator]
    part = Chunk(np.ones((12, 24, 24), np.uint8), voxel_size=SIZE, bounds=stored.bounds)
    box = BoundingBox.parse("0-16_0-32_0-32")
    task = Task(box, {"chunk": part}, voxel_size=SIZE, device=device)
    with (
        saver.open(Run(needed_box=lambda b, _: b)) as step,
        pytest.raises(ChunkMismatch, match=f"would leave a hole: {cure}"),
    ):
        step(task)
