from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from producer.look.box_voxels import box_voxel_size
from producer.page.preview import Previews
from producer.plan.pipeline_file import PipelineFile

SIZE = Vec3(4, 64, 64)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A volume of the mips 0 to 3, with voxels of 40 x 4 x 4 nm at mip 0."""
    path, block = f"file://{tmp_path}/em", Vec3(4, 8, 8)
    bounds, size = BoundingBox.sized(Vec3(0, 0, 0), SIZE), (40.0, 4.0, 4.0)
    create_volume(path, bounds=bounds, voxel_size=size, block_size=block, dtype="uint8", max_mip=3)
    return path


def load(path: str, mip: int) -> dict[str, Any]:
    return {"op": "load-precomputed", "volume_path": path, "mip": mip}


def save(path: str, mip: int) -> dict[str, Any]:
    return {"op": "save-precomputed", "volume_path": path, "mip": mip}


def coarser(path: str, **options: int) -> dict[str, Any]:
    return {"op": "downsample-upload", "volume_path": path, "stop_mip": 4} | options


def edge(*chain: dict[str, Any]) -> float | None:
    """Nanometres, along x."""
    size = box_voxel_size(map(Configured.read, chain))
    return size and size[2]


def test_boxes_are_counted_in_voxels_of_what_is_saved_last(path: str) -> None:
    lost = f"{path}-that-is-not-there"
    assert edge(load(path, 0), save(path, 1), load(path, 3)) == 8, "the mask is loaded later"
    assert edge(load(path, 2), coarser(path, chunk_mip=2)) == 16
    assert edge(load(path, 2), coarser(path)) == 16, "the chunk is the one that was loaded"
    assert edge(load(path, 0), save(path, 1), save(lost, 0)) == 8
    assert edge(load(path, 1), load(path, 3)) == 8, "nothing is saved"
    assert edge(load(lost, 0)) is None


def test_the_preview_of_coarser_levels_is_that_of_their_boxes(path: str) -> None:
    fine, coarse = open_volume(path, 0), open_volume(path, 2)
    fine.write(fine.bounds, np.full(fine.bounds.size, 10, np.uint8))
    coarse.write(coarse.bounds, np.full(coarse.bounds.size, 200, np.uint8))
    chain = [load(path, 2), coarser(path, chunk_mip=2)]
    previews = Previews(PipelineFile(Path("chain.yaml"), chain, {}))
    for name in previews.names:
        png = previews.png(name, coarse.bounds)
        assert png is not None
        picture = Image.open(BytesIO(png))
        assert picture.size == (16, 16)
        assert np.unique(picture).tolist() == [200]
