"""downsample-upload"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from math import isclose, lcm
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxNotAligned, ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.volumes.volume import CheckedVolume, Level


class DownsampleUpload(Converter):
    """Make the coarser levels of a chunk and write them to an existing volume of any format.

    Writes the mip levels from start_mip to stop_mip - 1, in whole blocks; each level is made from
    the previous one, as in `downsample`. The chunk itself is also written if start_mip is its mip.
    Levels that the volume lacks are added, each coarser by the factor; those that it has must
    differ by the factor. In a volume in shards, they get smaller shards, which boxes of whole
    shards of the finer levels fill, down to single blocks; create-volume --max-mip makes larger
    ones. All levels are made and checked before the first is written, and every block is verified
    to be stored.

    A block of a coarse level covers many blocks of the chunk's level. Boxes must therefore be
    multiples of the coarsest level's blocks, because otherwise two tasks would write the same file.
    If they are not, an error says which sizes work. For more levels, start another job that
    downsamples from the last one.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 1024 1024 \
            load-precomputed -v file://em \
            downsample-upload -v file://em -f 1 2 2 --stop-mip 4
    """
    differs: ClassVar[str] = (
        "chunkflow deleted black blocks, so they were missing. It made the levels by the given "
        "factor, not by the volume's. It assumed that the chunk's mip is 0 unless it was given. "
        "See also `downsample`."
    )
    saves: ClassVar[VolumeOptions] = {"volume_path": ""}
    pyramid: ClassVar[Mapping[str, Any]] = {
        "factor": (2, 2, 2),
        "chunk_mip": None,
        "start_mip": None,
        "stop_mip": 5,
    }
    op: Literal["downsample-upload"] = "downsample-upload"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    volume_path: str = field(flag="-v", help="Path of the volume, which create-volume has created.")
    factor: Vec3 = field(
        Vec3(2, 2, 2),
        flag="-f",
        help="How many times larger voxels become from one level to the next.",
    )
    mip: int | None = field(
        None, ge=0, help="Mip level of a chunk that has no voxel size; default: 0."
    )
    chunk_mip: int | None = field(
        None,
        flag="-c",
        ge=0,
        help="Mip level of the chunk; default: the level with its voxel size.",
    )
    start_mip: int | None = field(
        None,
        flag="-s",
        ge=0,
        help="First mip level to write; default: the next after the chunk's.",
    )
    stop_mip: int = field(5, flag="-p", ge=1, help="Mip level after the last one to write.")
    scale: tuple[float, float] | None = scale_option()
    fill_missing: bool = field(
        True,
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect, since whole blocks "
        "are written.",
    )

    _sizes = field_validator("factor")(above_zero)

    @model_validator(mode="after")
    def _mips_grow(self) -> DownsampleUpload:
        self._first_of(self.chunk_mip or 0)
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.pyramid import downsample
        from chunkflow_worker.pipeline.saving import check_kind, part_inside, write_verified
        from chunkflow_worker.volumes.levels import levels_of

        all_levels = levels_of(self.volume_path, self.factor, self.stop_mip, output=True)
        known = {mip: all_levels.level(mip) for mip in range(self.chunk_mip or 0, self.stop_mip)}
        finest, adding = all_levels.open(0), Lock()

        @cache
        def opened() -> dict[int, CheckedVolume]:
            """The levels, of which those that the volume lacks are added.

            Only when a box has been checked: an empty level is in the way of viewers.
            """
            all_levels.add()
            return {mip: all_levels.open(mip) for mip in known}

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            mip = self._mip_of(chunk, known)
            levels = self._levels(mip, known)
            chunk = replace(part_inside(chunk, known[mip], task), bounds=known[mip].bounds)
            check_kind(chunk, finest)
            self._refuse_other_factors(mip, known)
            self._refuse_shared_blocks(chunk.bbox, mip, levels)
            pyramid = {mip: chunk}
            for n in range(mip + 1, self.stop_mip):
                pyramid[n] = downsample(pyramid[n - 1], self.factor)
            parts = {n: part_inside(pyramid[n], level, task) for n, level in levels.items()}
            if run.dry_run:
                return
            with adding:
                volumes = opened()
            for n, part in parts.items():
                write_verified(part, volumes[n], task, self)

        yield step

    def _first_of(self, chunk_mip: int) -> int:
        """First level to write. Raises ValueError if there is none, or the chunk cannot give it."""
        first = chunk_mip + 1 if self.start_mip is None else self.start_mip
        if not chunk_mip <= first < self.stop_mip:
            raise ValueError(
                f"start_mip {first} must not be below the chunk's mip {chunk_mip}, and must be "
                "below "
                f"stop_mip {self.stop_mip}, which is the level after the last one"
            )
        return first

    def _levels(self, mip: int, known: dict[int, Level]) -> dict[int, Level]:
        """The volume's levels to write, by mip, for a chunk of mip `mip`."""
        try:
            return {n: known[n] for n in range(self._first_of(mip), self.stop_mip)}
        except ValueError as error:
            raise ConfigError.one(
                self.label, "mips", str(error), "give other mips, or --chunk-mip"
            ) from None

    def _mip_of(self, chunk: Chunk, volumes: dict[int, Level]) -> int:
        if self.chunk_mip is not None:
            return self.chunk_mip
        from chunkflow_worker.image.chunk import UNKNOWN_SIZE

        sizes = {mip: volume.voxel_size for mip, volume in volumes.items()}
        for mip, size in sizes.items():
            if all(map(isclose, size, chunk.voxel_size)):
                return mip
        if chunk.voxel_size == UNKNOWN_SIZE:
            return self.mip or 0
        known = ", ".join(f"{mip} {list(size)}" for mip, size in sizes.items())
        raise ChunkMismatch(
            f"the chunk has voxels of {list(chunk.voxel_size)} nm, and no mip of "
            f"{self.volume_path} "
            f"below stop_mip has: {known}; give --chunk-mip"
        )

    def _refuse_other_factors(self, mip: int, volumes: dict[int, Level]) -> None:
        for n in range(mip + 1, self.stop_mip):
            theirs = [
                b / a for a, b in zip(volumes[n - 1].voxel_size, volumes[n].voxel_size, strict=True)
            ]
            if not all(map(isclose, theirs, self.factor)):
                problem = (
                    f"is {list(self.factor)}, and mip {n} of {self.volume_path} is coarser than "
                    f"mip {n - 1} by {theirs}"
                )
                cure = (
                    "give the factor of the volume; if it changes between the levels, write the "
                    "levels of one factor by start_mip and stop_mip"
                )
                raise ConfigError.one(self.label, "factor", problem, cure)

    def _refuse_shared_blocks(self, box: BoundingBox, mip: int, levels: dict[int, Level]) -> None:
        from chunkflow_worker.volumes.volume import check_aligned

        factors = {n: self.factor.power(n - mip) for n in levels}
        blocks = [volume.block_size * factors[n] for n, volume in levels.items()]
        for n, volume in levels.items():
            part = box.downsample(factors[n]).clip(volume.bounds) or volume.bounds
            try:
                check_aligned(volume, part)
            except BoxNotAligned:
                raise BoxNotAligned(
                    f"mip {n} of {volume.path}: box {part} would share blocks of "
                    f"{list(volume.block_size)} voxels with its neighbours; for mip {min(levels)} "
                    "to "
                    f"{max(levels)}, boxes of mip {mip} must start and stop at multiples of "
                    f"{[*map(lcm, *blocks)]}, counted from the volume's start, or at its end; or "
                    "write fewer levels by --stop-mip"
                ) from None
