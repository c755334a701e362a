"""Single blocks of a volume: which, when written, cut short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import BlockDamaged
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.precomputed_info import create_volume
from chunkflow_worker.storage.volume import blocks_of, checksum

BOUNDS = BoundingBox.parse("-3-17_10-50_0-70")  # not a multiple of the blocks
BLOCK = Vec3(8, 16, 32)


def make(path: str) -> PrecomputedVolume:
    create_volume(path, bounds=BOUNDS, voxel_size=(40, 8, 8), block_size=BLOCK, dtype="uint8")
    return PrecomputedVolume(path)


@pytest.mark.parametrize("cloud", [False, True])
def test_blocks_know_when_they_were_stored(
    cloud: bool, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> None:
    if cloud:
        boto3.client("s3").create_bucket(Bucket=unique_name)
    volume = make(f"s3://{unique_name}/v" if cloud else f"file://{tmp_path}/v")
    box = BoundingBox.parse("13-17_42-50_32-70")  # two blocks at the volume's end
    volume.write(box, np.ones(box.size, np.uint8))
    times = volume.block_times(box)
    assert list(times) == ["8_8_40/32-64_42-50_13-17", "8_8_40/64-70_42-50_13-17"]
    assert all(
        time and abs(datetime.now(UTC) - time) < timedelta(minutes=1) for time in times.values()
    )
    everything = volume.block_times(BOUNDS)
    assert sorted(name for name, time in everything.items() if time is None) == volume.missing(
        BOUNDS
    )
    assert len(everything) == 27


@pytest.mark.parametrize("size", [0, 1, 2, 9, 12, 18, 30])
def test_a_block_that_is_cut_short_is_damaged(size: int, tmp_path: Path) -> None:
    volume = make(f"file://{tmp_path}/v")
    volume.write(BOUNDS, np.random.default_rng(0).integers(0, 255, BOUNDS.size, np.uint8))
    (block,) = (tmp_path / "v").glob("*/0-32_10-26_-3-5*")
    block.write_bytes(block.read_bytes()[:size])
    with pytest.raises(BlockDamaged, match="can't be decoded"):
        volume.read(BOUNDS)


@given(st.data())
def test_blocks_cover_a_box_once(data: st.DataObject) -> None:
    volume = type("Volume", (), {"bounds": BOUNDS, "block_size": BLOCK})()
    counts = -(-BOUNDS.size // BLOCK)
    low = Vec3.of(data.draw(st.integers(0, n - 1)) for n in counts)
    high = Vec3.of(data.draw(st.integers(a + 1, n)) for a, n in zip(low, counts, strict=True))
    box = BoundingBox(BOUNDS.start + low * BLOCK, (BOUNDS.start + high * BLOCK).min(BOUNDS.stop))
    covered = np.zeros(box.size, int)
    for block in blocks_of(volume, box):
        covered[block.slices(box.start)] += 1
    assert (covered == 1).all()


def test_checksums_are_those_of_the_values_in_c_order() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert checksum(array) == checksum(np.asfortranarray(array)) == checksum(array.copy())
    assert checksum(array) != checksum(array.transpose())
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == "cbf43926", (
        "the check value of CRC-32"
    )
