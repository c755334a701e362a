from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from cloudfiles import CloudFiles
from cloudvolume import CloudVolume

from chunkflow_worker.errors import (
    BlockDamaged,
    BoxNotAligned,
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.files import Packing
from chunkflow_worker.volumes.open_volume import volume_bounds, volume_level
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of
from tests.support.sample import BLOCK, BOUNDS, make, noise


@pytest.mark.parametrize(
    ("path", "dtype", "channels"),
    [
        ("file", "uint8", 1),
        ("file", "float32", 3),
        ("file", "uint64", 1),
        ("s3", "float32", 3),
        ("mem", "float32", 3),
    ],
    indirect=["path"],
)
def test_what_is_written_is_read_back_by_cloudvolume_itself(
    path: str, dtype: str, channels: int
) -> None:
    volume = make(path, dtype, channels)
    array = noise(BOUNDS, channels, dtype)
    volume.write(BOUNDS, array)
    if not path.startswith("mem://"):  # where CloudVolume keeps arrays, and no bytes
        theirs = np.asarray(CloudVolume(path, progress=False)[:])
        assert np.array_equal(theirs.transpose().reshape(array.shape), array)
    assert np.array_equal(volume.read(BOUNDS), array)
    part = BoundingBox.parse("0-5_20-49_31-33")
    assert np.array_equal(volume.read(part), array[(..., *part.slices(BOUNDS.start))])


@pytest.mark.parametrize("path", ["file", "mem"], indirect=True)
def test_a_single_voxel_has_its_channels_on_the_first_axis(path: str) -> None:
    volume = make(path, "float32", 3)
    array = noise(BOUNDS, 3, "float32")
    volume.write(BOUNDS, array)
    voxel = BoundingBox.sized(BOUNDS.start + Vec3(1, 2, 3), (1, 1, 1))
    assert np.array_equal(volume.read(voxel), array[:, 1:2, 2:3, 3:4])


def test_the_volume_describes_itself(path: str) -> None:
    volume = make(path)
    assert volume.bounds == BOUNDS == volume_bounds(path)
    assert volume.voxel_size == (40, 7.16, 7.16)
    assert (volume.block_size, volume.dtype) == (BLOCK, np.uint8)
    assert (volume.channels, volume.layer_type, volume.lossless) == (1, "image", True)


def test_missing_blocks_are_an_error_unless_filled(path: str) -> None:
    volume = make(path)
    first = BoundingBox.sized(BOUNDS.start, BLOCK)
    volume.write(first, noise(first))
    assert volume.missing(first) == []
    assert len(volume.missing(BOUNDS)) == 3 * 3 * 3 - 1
    with pytest.raises(DataMissing, match="lacks"):
        volume.read(BOUNDS)
    filled = PrecomputedVolume(path, fill_missing=True).read(BOUNDS)
    assert np.array_equal(filled[first.slices(BOUNDS.start)], noise(first))
    assert np.count_nonzero(filled) == np.count_nonzero(noise(first))


@pytest.mark.parametrize("path", ["file"], indirect=True)
@pytest.mark.parametrize(
    "box", ["-3-5_10-26_1-33", "-3-4_10-26_0-32", "-3-17_10-50_0-69", "-2-5_10-26_0-32"]
)
def test_boxes_that_share_blocks_with_neighbours_are_refused(path: str, box: str) -> None:
    volume = make(path)
    with pytest.raises(BoxNotAligned, match="nearest box of whole blocks is"):
        volume.write(BoundingBox.parse(box), noise(BoundingBox.parse(box)))
    assert len(volume.missing(BOUNDS)) == 27, "nothing was written"


def test_boxes_outside_and_arrays_of_other_shapes_are_refused(path: str) -> None:
    volume = make(path)
    with pytest.raises(BoxOutsideVolume):
        volume.read(BOUNDS.shift((1, 0, 0)))
    with pytest.raises(ChunkMismatch, match="takes 1 channels"):
        volume.write(BOUNDS, noise(BOUNDS, 2))


def test_a_missing_volume_or_mip_is_reported_with_a_cure(path: str) -> None:
    with pytest.raises(ConfigError, match="chunkflow create-volume"):
        PrecomputedVolume(path, output=True)
    with pytest.raises(ConfigError, match="chunkflow create-volume"):
        volume_level(path, output=True)
    for opened in (PrecomputedVolume, volume_bounds):
        with pytest.raises(ConfigError, match=r"no (precomputed )?volume here\n +check the path$"):
            opened(path)
    make(path)
    for opened in (lambda: PrecomputedVolume(path, mip=3), lambda: volume_bounds(path, 3)):
        with pytest.raises(ConfigError, match="the volume has mip 0 alone"):
            opened()


def test_storage_that_cannot_be_reached_is_retryable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    volume = make(f"file://{tmp_path}/volume")

    def fail(*_: Any) -> None:
        raise ConnectionResetError("reset")

    monkeypatch.setattr(CloudFiles, "get", fail)
    with pytest.raises(StorageUnavailable, match="cannot be reached: reset"):
        volume.read(BOUNDS)


@pytest.mark.parametrize("cloud", [False, True])
def test_blocks_have_the_time_when_they_were_written(
    cloud: bool, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> None:
    if cloud:
        boto3.client("s3").create_bucket(Bucket=unique_name)
    volume = make(f"s3://{unique_name}/v" if cloud else f"file://{tmp_path}/v")
    box = BoundingBox.parse("13-17_42-50_32-70")  # two blocks at the volume's end
    volume.write(box, np.ones(box.size, np.uint8))
    times = volume.stored_at(blocks_of(volume, box))
    assert list(times) == ["7.16_7.16_40.0/32-64_42-50_13-17", "7.16_7.16_40.0/64-70_42-50_13-17"]
    now = datetime.now(UTC)
    assert all(time and abs(now - time) < timedelta(minutes=1) for time in times.values())
    assert volume.stored_at(blocks_of(volume, BOUNDS)) == times, "absent blocks are left out"


def test_the_bytes_of_blocks_have_checksums_whatever_gzip_makes_of_them(tmp_path: Path) -> None:
    sums: list[list[str]] = []
    packings: tuple[Packing, ...] = ("none", "gzip", "br", "zstd")
    for packing in packings:
        made = make(f"file://{tmp_path}/{packing}").path
        volume = PrecomputedVolume(made, compression=Compression(packing))
        volume.write(BOUNDS, noise(BOUNDS, 1))
        sums.append(volume.checksums(blocks_of(volume, BOUNDS)))
        assert volume.checksums(list(blocks_of(volume, BOUNDS))[3:4]) == sums[-1][3:4]
    assert all(found == sums[0] for found in sums)
    assert len(set(sums[0])) == 27
    next((tmp_path / "zstd").glob("*/*.zstd")).unlink()
    with pytest.raises(DataMissing, match="lacks the block"):
        volume.checksums(blocks_of(volume, BOUNDS))


def test_memory_keeps_no_times_of_blocks(unique_name: str) -> None:
    volume = make(f"mem://{unique_name}/v")
    assert volume.stored_at(blocks_of(volume, BOUNDS)) == {}
    volume.write(BOUNDS, noise(BOUNDS, 1))
    assert set(volume.stored_at(blocks_of(volume, BOUNDS)).values()) == {None}


@pytest.mark.parametrize("size", [0, 1, 2, 9, 12, 18, 30])
def test_a_truncated_block_is_damaged(size: int, tmp_path: Path) -> None:
    volume = make(f"file://{tmp_path}/v")
    volume.write(BOUNDS, np.random.default_rng(0).integers(0, 255, BOUNDS.size, np.uint8))
    (block,) = (tmp_path / "v").glob("*/0-32_10-26_-3-5*")
    block.write_bytes(block.read_bytes()[:size])
    with pytest.raises(BlockDamaged, match="can't be decoded"):
        volume.read(BOUNDS)


def test_a_volume_whose_shards_are_no_boxes_is_read_and_not_written(sharded_volume: Any) -> None:
    array = noise(BoundingBox.parse("0-20_0-40_0-40"))
    stored = BoundingBox.parse("3-11_-5-11_7-23")  # one block
    volume = PrecomputedVolume(sharded_volume("v", array, (3, -5, 7), [stored]))
    assert np.array_equal(volume.read(stored), array[:8, :16, :16])
    missing = volume.missing(volume.bounds)
    assert len(missing) == 3 * 3 * 3 - 1
    assert "8_8_40/7-23_-5-11_3-11" not in missing
    with pytest.raises(ConfigError, match="sharding: a shard holds blocks of many boxes"):
        volume.write(stored, array[:8, :16, :16])
