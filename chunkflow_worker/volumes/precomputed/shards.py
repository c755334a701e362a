"""Shards of a precomputed volume: objects that hold many blocks.

The format is described in Neuroglancer's docs (precomputed/sharded.md and volume.md). A block's
number is its compressed Morton code: the bits of its position along x, y and z take turns, from the
lowest, and an axis has no more bits than its number of blocks needs. With the hash `identity`, the
lowest bits, as many as `preshift_bits` and `minishard_bits` say, count the blocks of one shard.
These lie in one box, whose edges are powers of two of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chunkflow_worker.errors import Mistake
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.volumes.precomputed.encoding import gains_by_gzip

_TYPE = "neuroglancer_uint64_sharded_v1"
_BLOCKS_OF_MINISHARD = 10  # bits: an index of 24 kB at most, which a reader fetches whole
_SHOWN = 2  # sizes that an error names on each side


def blocks_of_shard(sharding: dict[str, Any], grid: Vec3) -> Vec3 | None:
    """How many blocks a shard has along each axis, zyx; None if its blocks lie in no box.

    sharding: of the info. grid: number of blocks of the level along each axis.
    """
    in_shard = sharding["preshift_bits"] + sharding["minishard_bits"]
    bits = list(_axes_of_bits(grid))
    is_whole = len(bits) <= in_shard + sharding["shard_bits"]  # else a shard holds several boxes
    if sharding.get("hash", "identity") != "identity" or not is_whole:
        return None
    return _box(bits[:in_shard])


def sharding_of(shard_size: Vec3, block_size: Vec3, grid: Vec3, encoding: str) -> dict[str, Any]:
    """What an info says of shards of `shard_size` voxels.

    A shard never is larger than the level needs. Blocks are compressed by gzip, unless their
    encoding compresses them.
    Raises Mistake if no shard is of this size.
    """
    bits = list(_axes_of_bits(grid))
    wanted = -(-shard_size // block_size)
    sizes = [_box(bits[:n]) for n in range(len(bits) + 1)]
    fitting = wanted.min(sizes[-1])
    if shard_size % block_size != Vec3(0, 0, 0) or fitting not in sizes:
        smaller = [box for box in sizes if box.product <= wanted.product][-_SHOWN:]
        larger = [box for box in sizes if box.product > wanted.product][:_SHOWN]
        legal = ", ".join(" ".join(map(str, box * block_size)) for box in (*smaller, *larger))
        raise Mistake(
            f"{list(shard_size)} is no size of shards: they grow by a factor of 2 along x, y and z "
            f"in turn, from the block of {list(block_size)}",
            f"sizes near it: {legal}",
        )
    return _sharding(sizes.index(fitting), len(bits), encoding)


def coarser_sharding(
    sharding: dict[str, Any], grid: Vec3, coarse_grid: Vec3, factor: Vec3, encoding: str
) -> dict[str, Any] | None:
    """What an info says of the shards of a level that is coarser by `factor` than one in shards.

    They are the largest that boxes of whole shards of the finer level fill whole. None if these are
    single blocks, or if a shard of the finer level is no box.
    sharding, grid: of the finer level. coarse_grid: number of blocks of the other along each axis.
    """
    in_shard = blocks_of_shard(sharding, grid)
    if in_shard is None:
        return None
    bits = list(_axes_of_bits(coarse_grid))

    def is_filled(size: Vec3) -> bool:
        axes = zip(in_shard, size, factor, strict=True)
        return all(n == 1 or count % (n * step) == 0 for count, n, step in axes)

    largest = max(n for n in range(len(bits) + 1) if is_filled(_box(bits[:n])))
    return _sharding(largest, len(bits), encoding) if largest else None


def _sharding(in_shard: int, bits: int, encoding: str) -> dict[str, Any]:
    """in_shard, bits: that count the blocks of a shard, and those of the level."""
    minishard_bits = max(0, in_shard - _BLOCKS_OF_MINISHARD)
    return {
        "@type": _TYPE,
        "hash": "identity",
        "preshift_bits": in_shard - minishard_bits,
        "minishard_bits": minishard_bits,
        "shard_bits": bits - in_shard,
        "minishard_index_encoding": "gzip",
        "data_encoding": "gzip" if gains_by_gzip(encoding) else "raw",
    }


def shard_name(sharding: dict[str, Any], grid: Vec3, place: Vec3) -> str:
    """Name of the object of a shard, below the folder of its level.

    place: of one of its blocks in the grid of blocks, zyx.
    """
    in_shard = sharding["preshift_bits"] + sharding["minishard_bits"]
    number = block_number(grid, place) >> in_shard
    return f"{number:0{-(-sharding['shard_bits'] // 4)}x}.shard"


def block_number(grid: Vec3, place: Vec3) -> int:
    """The compressed Morton code of the block at `place`, zyx."""
    number, left = 0, dict(zip("zyx", place, strict=True))
    for bit, axis in enumerate(_axes_of_bits(grid)):
        number |= (left[axis] & 1) << bit
        left[axis] >>= 1
    return number


def _axes_of_bits(grid: Vec3) -> Iterator[str]:
    """The axis that each bit of a compressed Morton code belongs to, from the lowest."""
    counts = {axis: (count - 1).bit_length() for axis, count in zip("zyx", grid, strict=True)}
    for bit in range(max(counts.values())):
        yield from (axis for axis in "xyz" if bit < counts[axis])


def _box(bits: Sequence[str]) -> Vec3:
    """The box of blocks, zyx, that so many bits count."""
    return Vec3.of(2 ** bits.count(axis) for axis in "zyx")
