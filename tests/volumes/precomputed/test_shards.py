from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tensorstore
from cloudvolume import CloudVolume
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import BoxNotAligned, DataMissing, Mistake
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import xyz_name
from chunkflow_worker.volumes.open_volume import volume_level
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.shards import (
    blocks_of_shard,
    coarser_sharding,
    shard_name,
    sharding_of,
)
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of

small = st.builds(Vec3, *[st.integers(1, 40)] * 3)
few = st.builds(Vec3, *[st.integers(1, 18)] * 3)  # voxels, whose blocks are files


def create(path: str, bounds: BoundingBox, block: Vec3, shard: Vec3, **options: Any) -> None:
    options = {"voxel_size": (40, 8, 8), "dtype": "uint16"} | options
    create_volume(path, bounds=bounds, block_size=block, shard_size=shard, **options)


@settings(max_examples=30)
@given(grid=small, in_shard=st.integers(0, 18), data=st.data())
def test_shards_are_those_of_cloudvolume(grid: Vec3, in_shard: int, data: st.DataObject) -> None:
    bits = sum((n - 1).bit_length() for n in grid)
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "preshift_bits": in_shard // 2,
        "minishard_bits": in_shard - in_shard // 2,
        "shard_bits": max(0, bits - in_shard),
    }
    with TemporaryDirectory() as folder:
        path = f"file://{folder}/v"
        bounds = BoundingBox.sized((5, -7, 3), grid * Vec3(2, 3, 4))
        create(path, bounds, Vec3(2, 3, 4), Vec3(2, 3, 4))
        volume = CloudVolume(path, progress=False)
        volume.scale["sharding"] = sharding
        size = blocks_of_shard(sharding, grid)
        assert size is not None
        theirs = Vec3.of(int(n) for n in volume.image.shard_shape(0)[::-1])
        assert size * Vec3(2, 3, 4) == theirs
        place = Vec3(*(data.draw(st.integers(0, n - 1)) for n in grid))
        start = bounds.start + place * Vec3(2, 3, 4)
        block = BoundingBox(start, (start + Vec3(2, 3, 4)))
        _, [code] = volume.image.morton_codes(volume_box(block), mip=0)
        name = volume.image.shard_reader(0).get_filename(code)
        assert shard_name(sharding, grid, place) == name


def volume_box(box: BoundingBox) -> Any:
    from cloudvolume.lib import Bbox

    return Bbox(box.start[::-1], box.stop[::-1])


@settings(max_examples=20)
@given(size=few, start=st.builds(Vec3, *[st.integers(-50, 50)] * 3), bits=st.integers(0, 9))
def test_a_volume_in_shards_is_read_by_other_programs(size: Vec3, start: Vec3, bits: int) -> None:
    block, bounds = Vec3(4, 5, 6), BoundingBox.sized(start, size)
    shard = block * Vec3(2 ** (bits // 3), 2 ** ((bits + 1) // 3), 2 ** ((bits + 2) // 3))
    with TemporaryDirectory() as folder:
        path = f"file://{folder}/v"
        create(path, bounds, block, shard)
        volume = PrecomputedVolume(path)
        array = np.random.default_rng(0).integers(0, 2**16, size, np.uint16)
        array[: size.z // 2 + 1] = 0  # also blocks of zeros, of different sizes
        for box in blocks_of(volume, bounds):
            volume.write(box, array[box.slices(bounds.start)])
        assert volume_level(path).block_size == volume.block_size
        assert volume.missing(bounds) == []
        names = {volume.block_name(box) for box in blocks_of(volume, bounds)}
        files = {str(p.relative_to(f"{folder}/v")) for p in Path(folder).rglob("*.shard")}
        assert names == files == set(volume.stored_at(blocks_of(volume, bounds)))
        assert np.array_equal(volume.read(bounds), array)
        theirs = CloudVolume(path, progress=False)[:]
        assert np.array_equal(np.asarray(theirs)[..., 0].T, array)
        kvstore = {"driver": "file", "path": f"{folder}/v/"}
        spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore}
        theirs = tensorstore.open(spec).result().read().result()
        assert np.array_equal(theirs[..., 0].T, array)


@given(grid=small, in_shard=st.integers(0, 18), factor=st.builds(Vec3, *[st.integers(1, 4)] * 3))
def test_whole_shards_fill_those_of_a_coarser_level(
    grid: Vec3, in_shard: int, factor: Vec3
) -> None:
    bits = sum((n - 1).bit_length() for n in grid)
    in_shard = min(in_shard, bits)
    fine = {"preshift_bits": in_shard, "minishard_bits": 0, "shard_bits": bits - in_shard}
    coarse_grid = -(-grid // factor)
    coarse = coarser_sharding(fine, grid, coarse_grid, factor, "raw")
    whole = blocks_of_shard(fine, grid)
    filled = blocks_of_shard(coarse, coarse_grid) if coarse else Vec3(1, 1, 1)
    assert whole is not None
    assert filled is not None
    for count, n, step in zip(whole, filled, factor, strict=True):
        assert n == 1 or count % (n * step) == 0
    assert (coarse is None) == (filled == Vec3(1, 1, 1))


def test_shards_that_are_no_boxes_have_none_below_them() -> None:
    fine = {"hash": "murmurhash3_x86_128", "preshift_bits": 3, "minishard_bits": 0, "shard_bits": 9}
    assert coarser_sharding(fine, Vec3(16, 16, 16), Vec3(8, 8, 8), Vec3(2, 2, 2), "raw") is None


def test_a_lossy_encoding_keeps_its_own_compression(tmp_path: Path) -> None:
    path, bounds = f"file://{tmp_path}/v", BoundingBox.sized((0, 0, 0), (16, 64, 64))
    create(path, bounds, Vec3(8, 32, 32), Vec3(16, 64, 64), dtype="uint8", encoding="jpeg")
    volume = PrecomputedVolume(path)
    volume.write(bounds, np.full(bounds.size, 7, np.uint8))
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/v/"},
    }
    assert (tensorstore.open(spec).result().read().result() == 7).all()
    [sum_] = volume.checksums([bounds])
    assert len(sum_) == 8


def test_a_part_of_a_shard_is_refused_with_the_nearest_box(tmp_path: Path) -> None:
    path, bounds = f"file://{tmp_path}/v", BoundingBox.sized((0, 0, 0), (16, 64, 64))
    create(path, bounds, Vec3(4, 16, 16), Vec3(8, 32, 32))
    volume = PrecomputedVolume(path)
    block = BoundingBox.sized((0, 0, 0), (4, 16, 16))
    with pytest.raises(BoxNotAligned, match="nearest box of whole blocks is 0-8_0-32_0-32"):
        volume.write(block, np.zeros(block.size, np.uint16))
    with pytest.raises(DataMissing):
        volume.read(block)
    assert len(volume.missing(bounds)) == 64


@pytest.mark.parametrize(
    ("shard", "legal"),
    [
        (Vec3(4, 64, 64), "8 32 32, 8 32 64, 8 64 64, 16 64 64"),
        (Vec3(8, 40, 32), "4 32 32, 8 32 32, 8 32 64, 8 64 64"),
    ],
)
def test_a_size_that_no_shard_has_is_refused_with_those_near_it(shard: Vec3, legal: str) -> None:
    with pytest.raises(Mistake, match=r"is no size of shards") as refusal:
        sharding_of(shard, Vec3(4, 16, 16), Vec3(32, 32, 32), "raw")
    assert refusal.value.cure == f"sizes near it: {legal}"


def test_minishards_hold_a_thousand_blocks() -> None:
    sharding = sharding_of(Vec3(2048, 2048, 2048), Vec3(64, 64, 64), Vec3(100, 100, 100), "raw")
    bits = sharding["preshift_bits"], sharding["minishard_bits"], sharding["shard_bits"]
    assert bits == (10, 5, 6)
    assert sharding["data_encoding"] == "gzip"


def test_the_indices_tell_which_blocks_are_stored(sharded_volume: Any) -> None:
    array = np.ones((20, 40, 70), np.uint8)  # 3 x 3 x 5 blocks of 8 x 16 x 16
    bounds = BoundingBox.sized((3, -5, 7), array.shape)
    blocks = dict(zip(np.ndindex(3, 3, 5), bounds.split(Vec3(8, 16, 16)), strict=True))
    stored = {(0, 0, 0), (2, 1, 4), (1, 2, 3)}
    path = sharded_volume("v", array, bounds.start, [blocks[place] for place in stored])
    missing = PrecomputedVolume(path).missing(bounds)
    absent = [block for place, block in blocks.items() if place not in stored]
    assert missing == sorted(f"8_8_40/{xyz_name(block)}" for block in absent)
