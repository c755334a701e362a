"""`Levels`: the mip levels of a stored image, also those that it lacks and that a chain adds.

Each level that is added is coarser than the one before by the same factor, and stored like it. Its
shards are smaller, so that boxes of whole shards of the levels that exist fill them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.volumes.open_volume import find_info_at, no_volume
from chunkflow_worker.volumes.precomputed.info import add_mips, level_of, normal_info, with_mips
from chunkflow_worker.volumes.volume import CheckedVolume, Level

if TYPE_CHECKING:
    from chunkflow_worker.volumes.zarr.volume import ZarrVolume


class Levels(Protocol):
    """The levels of a volume. Methods raise ConfigError for a level that is wrong or absent."""

    @property
    def count(self) -> int:
        """Number of levels, with those to add."""

    def level(self, mip: int) -> Level:
        """The bounds and blocks of a level, which need not be stored yet."""

    def add(self) -> None:
        """Store what describes the levels that the volume lacks. Raises StorageUnavailable.

        Several processes may do so at the same time.
        """

    def open(self, mip: int) -> CheckedVolume:
        """A level that is stored, or that `add` has added."""


def levels_of(address: str, factor: Vec3, stop: int, *, output: bool = False) -> Levels:
    """The levels of a volume; those from the first that it lacks to `stop` - 1 are to be added.

    output: the chain writes the volume; the error for an absent one then says how to create it.
    Raises ConfigError when there is no volume, and StorageUnavailable.
    """
    info = find_info_at(address)
    if info is not None:
        return _Precomputed(address, with_mips(normal_info(info, address), factor, stop - 1))
    from chunkflow_worker.volumes.zarr.volume import open_levels

    stored = open_levels(address)
    if not stored:
        raise no_volume(address, output)
    return _Arrays(stored, factor, stop)


class _Precomputed:
    """info: of the volume, with the levels that it lacks."""

    def __init__(self, address: str, info: dict[str, Any]):
        self._address, self._info = address, info
        self.count = len(info["scales"])

    def level(self, mip: int) -> Level:
        return level_of(self._address, self._info["scales"][mip])

    def add(self) -> None:
        add_mips(self._address, self._info)

    def open(self, mip: int) -> CheckedVolume:
        from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

        return PrecomputedVolume(self._address, mip, info=self._info)


class _Arrays:
    """Arrays of one group of Zarr or N5. stored: those that exist, the finest first."""

    def __init__(self, stored: list[ZarrVolume], factor: Vec3, stop: int):
        self._stored, self._levels = stored, [_as_level(volume) for volume in stored]
        last = self._levels[-1]
        while len(self._levels) < stop:
            fine, step = self._levels[-1], factor.power(len(self._levels) - len(stored) + 1)
            z, y, x = (size * n for size, n in zip(fine.voxel_size, factor, strict=True))
            bounds = fine.bounds.downsample(factor)
            chunk, block = last.chunk_size, _coarser_shard(last, step)
            if chunk == block:
                chunk = block = chunk.min(bounds.size)
            self._levels.append(Level(fine.path, bounds, block, chunk, (z, y, x)))
        self.count = len(self._levels)

    def level(self, mip: int) -> Level:
        return self._levels[mip]

    def add(self) -> None:
        from chunkflow_worker.volumes.zarr.create import create_zarr

        like = self._stored[-1]
        if self.count > len(self._stored) and not like.is_in_group:
            problem = "is an array alone, and only a group has further levels"
            raise ConfigError.one(like.path, "mip", problem, "give the path of a group")
        for mip in range(len(self._stored), self.count):
            level = self._levels[mip]
            made = create_zarr(
                like.path.rpartition("/")[0],
                mip,
                driver=like.driver,
                bounds=level.bounds,
                voxel_size=level.voxel_size,
                block_size=level.chunk_size,
                shard_size=None if level.block_size == level.chunk_size else level.block_size,
                dtype=like.dtype.name,
                channels=like.channels if like.channels > 1 else 0,
                layer_type=like.layer_type,
            )
            self._stored.append(made)

    def open(self, mip: int) -> CheckedVolume:
        return self._stored[mip]


def _coarser_shard(fine: Level, factor: Vec3) -> Vec3:
    """The largest shard of a level coarser by `factor` that whole shards of the finer one fill."""
    in_shard = fine.block_size // fine.chunk_size
    axes = zip(in_shard, factor, strict=True)
    return fine.chunk_size * Vec3.of(n // step if n % step == 0 else 1 for n, step in axes)


def _as_level(volume: ZarrVolume) -> Level:
    size = volume.block_size
    return Level(volume.path, volume.bounds, size, volume.chunk_size, volume.voxel_size)
