"""Info files: what this package writes, and what it reads of other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.open_volume import volume_bounds, volume_level
from chunkflow_worker.volumes.precomputed.info import (
    create_volume,
    read_info,
    read_scale,
)
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.sample import BLOCK, BOUNDS, make, noise


def test_a_level_is_read_from_the_info_alone(tmp_path: Path) -> None:
    """Of another program: without an offset, and with blocks of two sizes."""
    fine = {"key": "a", "size": [70, 40, 20], "resolution": [8, 8, 40], "encoding": "raw"}
    scales = [
        fine | {"chunk_sizes": [[32, 16, 8], [64, 64, 1]]},
        fine | {"chunk_sizes": [[16, 16, 16]], "voxel_offset": [1, -2, 3], "size": [35, 20, 20]},
    ]
    info = {"scales": scales, "data_type": "uint8", "num_channels": 1, "type": "image"}
    Files(str(tmp_path)).put_json("info", info)
    level = volume_level(str(tmp_path))
    assert (str(level.bounds), level.block_size) == ("0-20_0-40_0-70", Vec3(8, 16, 32))
    assert level.path == f"file://{tmp_path}"
    assert str(volume_level(str(tmp_path), 1).bounds) == "3-23_-2-18_1-36"
    normal = info | {"scales": [scales[0] | {"voxel_offset": [0, 0, 0]}, scales[1]]}
    assert read_info(str(tmp_path)) == normal
    assert read_scale(str(tmp_path), 1) == (normal, scales[1])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, ": path: there is no volume here"),
        ([], "/info: file: is not a JSON object"),
        ({}, "/info: scales: is left out"),
        ({"scales": []}, r"/info: scales: \[\] holds no scale"),
        ({"@type": "neuroglancer_legacy_mesh"}, "/info: @type: 'neuroglancer_legacy_mesh' is not"),
    ],
)
def test_without_a_volume_there_is_no_level(tmp_path: Path, content: object, problem: str) -> None:
    if content is not None:
        Files(str(tmp_path)).put_json("info", content)
    with pytest.raises(ConfigError, match=f"{tmp_path}{problem}"):
        volume_bounds(str(tmp_path))


def test_cloudvolume_reads_what_was_written(path: str) -> None:
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 7.5, 8),
        block_size=BLOCK,
        dtype="uint64",
        channels=2,
        layer_type="segmentation",
        encoding="compressed_segmentation",
    )
    theirs = CloudVolume(path, progress=False)
    assert theirs.bounds.minpt.tolist() == [0, 10, -3]
    assert theirs.bounds.maxpt.tolist() == [70, 50, 17]
    assert theirs.resolution.tolist() == [8, 7.5, 40]
    assert theirs.underlying.tolist() == [32, 16, 8]
    assert (theirs.dtype, theirs.num_channels) == ("uint64", 2)
    assert (theirs.layer_type, theirs.encoding) == ("segmentation", "compressed_segmentation")


def test_creating_again_changes_nothing_and_another_volume_is_refused(path: str) -> None:
    make(path).write(BOUNDS, noise(BOUNDS))
    assert np.array_equal(make(path).read(BOUNDS), noise(BOUNDS))
    with pytest.raises(ConfigError, match="another volume already exists here"):
        make(path, "uint16")


def test_another_volume_may_be_overwritten(path: str) -> None:
    make(path)
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 8, 8),
        block_size=BLOCK,
        dtype="uint16",
        overwrite=True,
    )
    assert PrecomputedVolume(path).dtype == np.uint16


def test_voxels_of_further_mips_are_larger_by_the_factor(path: str) -> None:
    create_volume(
        path,
        bounds=BOUNDS,
        voxel_size=(40, 8, 8),
        block_size=BLOCK,
        dtype="uint8",
        factor=Vec3(1, 2, 2),
        max_mip=2,
    )
    assert PrecomputedVolume(path, 2).voxel_size == (40, 32, 32)
    assert volume_bounds(path, 1).size == (20, 20, 35)


def test_a_volume_that_chunkflow_made_is_the_same(tmp_path: Path) -> None:
    """Whole voxel sizes are whole numbers in the info, and so in the names of folders."""
    theirs = CloudVolume.create_new_info(
        1, "image", "uint8", "raw", [8, 8, 40], [0, 0, 0], [64, 32, 8], chunk_size=[32, 32, 8]
    )
    CloudVolume(f"file://{tmp_path}/v", info=theirs).commit_info()
    create_volume(
        f"file://{tmp_path}/v",
        bounds=BoundingBox.parse("0-8_0-32_0-64"),
        voxel_size=(40.0, 8.0, 8.0),
        block_size=Vec3(8, 32, 32),
        dtype="uint8",
    )
    volume = PrecomputedVolume(f"file://{tmp_path}/v")
    assert volume.block_name(BoundingBox.parse("0-8_0-32_0-32")) == "8_8_40/0-32_0-32_0-8"


def test_a_volume_is_not_created_at_a_web_address() -> None:
    with pytest.raises(ConfigError, match="https://host/em: is read only"):
        make("https://host/em")
