"""The chain of a sample run writes to the scratch place alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.job.written_paths import WrittenPaths
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from producer.cost.scratch import Scratch

BOUNDS = BoundingBox.parse("0-64_0-64_0-64")


@pytest.mark.parametrize(
    ("prefix", "shard"), [("precomputed", None), ("zarr2", None), ("zarr3", Vec3(32, 32, 32))]
)
def test_the_copy_of_an_output_is_stored_alike(
    tmp_path: Path, prefix: str, shard: Vec3 | None
) -> None:
    address = f"{prefix}://file://{tmp_path}/out"
    create_volume(
        address, bounds=BOUNDS, voxel_size=(8, 8, 8), block_size=Vec3(16, 16, 16), dtype="uint8",
        shard_size=shard, max_mip=1,
    )  # fmt: skip
    folder = tmp_path / "scratch"
    folder.mkdir()
    scratch = Scratch(folder)
    file = scratch.write_chain([{"op": "save-volume", "volume_path": address, "mip": 1}])
    (save,) = yaml.safe_load(file.read_text())["operators"]
    assert save["volume_path"].startswith(f"{prefix}://file://{folder}/")
    for mip in (0, 1):
        copy, original = open_volume(save["volume_path"], mip), open_volume(address, mip)
        assert (copy.bounds, copy.block_size) == (original.bounds, original.block_size)
        assert scratch.original(copy.path) == original.path


def test_no_path_of_the_job_is_written(tmp_path: Path) -> None:
    """Paths that are only read stay, unless the chain writes there, too."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    chain: list[dict[str, Any]] = [
        {"op": "load-precomputed", "volume_path": "s3://lab/in"},
        {"op": "create-volume", "volume_path": "s3://lab/out"},
        {"op": "save-precomputed", "volume_path": "s3://lab/out"},
        {"op": "load-precomputed", "volume_path": "s3://lab/out/"},
        {"op": "save-tif", "file_name": f"{tmp_path}/a/b_"},
        {"op": "save-npy"},
        {"op": "mesh", "output_path": "gs://lab/mesh/"},
    ]
    written = Scratch(folder, "s3://lab/tmp/x").write_chain(chain)
    moved = yaml.safe_load(written.read_text())["operators"]
    assert moved[0] == chain[0]
    assert moved[3]["volume_path"].rstrip("/") == moved[2]["volume_path"]
    paths = [path for o in moved for _, path in Configured.read(o).paths(written=True)]
    assert len(paths) == 5
    for path in paths:
        assert path.startswith(("s3://lab/tmp/x/", f"{folder}/")), path
    allowed = WrittenPaths.of_chain(map(Configured.read, moved))
    assert allowed.refusal("s3://lab/out") is not None
