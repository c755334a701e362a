"""Voxels that others write over those of a task are found in a volume of each format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from tests.support.two_boxes import BOUNDS, CHUNK, FIRST, TwoBoxes

STORES: dict[str, tuple[str, dict[str, Any]]] = {
    "precomputed": ("precomputed", {}),
    "precomputed in shards": ("precomputed", {"shard_size": CHUNK}),
    "OME-Zarr 0.4": ("zarr2", {}),
    "OME-Zarr 0.5": ("zarr3", {}),
    "OME-Zarr 0.5 in shards": ("zarr3", {"shard_size": CHUNK}),
    "N5": ("n5", {}),
}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_voxels_of_others_are_found(
    store: str, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, (name, options) = TwoBoxes(tmp_path), STORES[store]
    address = f"{name}://file://{tmp_path}/out"
    shape: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (40, 8, 8), "dtype": dtype}
    create_volume(address, **shape, block_size=Vec3(4, 8, 8), **options)
    job.work(job.load(), {"op": "save-volume", "volume_path": address})
    volume, box = open_volume(address, output=True), BoundingBox.parse(FIRST)
    right = volume.read(box)
    others = {
        "zero": np.zeros_like(right),
        "stale": right[::-1],
        **({"nan": np.full_like(right, np.nan)} if dtype == "float32" else {}),
    }
    for kind, array in others.items():
        volume.write(box, array)
        status, report = job.verify(capsys)
        assert (status, report["wrong"]) == (1, 1)
        assert {problem["box"] for problem in report["problems"]} == {FIRST}
        assert kind in {problem["kind"] for problem in report["problems"]}
        assert job.left_out(capsys) < 2
    volume.write(box, right)
    assert job.verify(capsys)[0] == 0
