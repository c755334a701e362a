"""`VolumeCreator`: the options and the step of the operators that create a volume of any format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field, field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import note_shared

if TYPE_CHECKING:
    from chunkflow_worker.volumes.volume import CheckedVolume
    from chunkflow_worker.volumes.zarr.volume import ZarrVolume

_Nanometres = Annotated[float, Field(gt=0)]


class VolumeCreator(Operator):
    """Base of the operators that create a volume."""

    input_chunk_name: str = field(
        "chunk", flag="-i", help="Chunk to take sizes and type from, if there is one."
    )
    volume_path: str = field(
        "file://.",
        flag="-v",
        help="Path of the new volume. It is precomputed unless it ends with .zarr or .n5, or the "
        "format is named, as in zarr3://s3://lab/em.",
    )
    like: str | None = field(
        None,
        help="Volume whose place, size and voxel size the new one has, as far as they are not "
        "given.",
    )
    channel_num: int = field(1, flag="-c", ge=1, help="Number of channels.")
    layer_type: Literal["image", "segmentation"] | None = field(
        None, flag="-t", help="What the values mean."
    )
    data_type: Literal["uint8", "uint16", "uint32", "uint64", "float32"] | None = field(
        None, flag="-d", help="Type of a voxel."
    )
    encoding: Literal[
        "raw", "jpeg", "compressed_segmentation", "kempressed", "npz", "fpzip", "npz_uint8"
    ] = field(
        "raw",
        flag="-e",
        help="How blocks of a precomputed volume are stored; npz_uint8 is refused, since nothing "
        "can read it.",
    )
    voxel_size: tuple[_Nanometres, _Nanometres, _Nanometres] | None = field(
        None, flag="-s", help="Edge lengths of a voxel in nanometres."
    )
    voxel_offset: Vec3 | None = field(None, flag="-o", help="First voxel of the volume.")
    volume_size: Vec3 | None = field(None, flag="-z", help="Size of the volume in voxels.")
    block_size: Vec3 = field(
        flag="-b", help="Size of the blocks; each is stored as one file, unless there are shards."
    )
    shard_size: Vec3 | None = field(
        None,
        help="Store the blocks in shards of so many voxels: one file each, which a task writes "
        "whole. Of precomputed volumes and Zarr 3.",
    )
    factor: Vec3 = field(
        Vec3(2, 2, 2),
        flag="-f",
        help="How many times larger voxels become from one mip level to the next.",
    )
    max_mip: int = field(0, flag="-m", ge=0, le=20, help="Last mip level.")

    _sizes = field_validator("block_size", "shard_size", "volume_size", "factor")(above_zero)

    def reads(self) -> tuple[str, ...]:
        return ()

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        # Created when the chain opens, so that later operators find the volume when they open.
        is_told = self.volume_size is not None or self.like is not None
        is_first = is_told and self.input_chunk_name not in run.made
        if is_first:
            self._create(run, None)
        files = cache(self._files)

        def step(task: Task) -> None:
            if not is_first:
                self._create(run, task)
            for path in () if run.dry_run else files():
                note_shared(path)

        yield step

    def _create(self, run: Run, task: Task | None) -> None:
        from chunkflow_worker.volumes.create_volume import create_volume

        chunk = (
            task.chunk(self.input_chunk_name)
            if task and self.input_chunk_name in task.values
            else None
        )
        like = self._like()
        bounds = like.bounds if like else chunk.bbox if chunk else None
        size = self.volume_size or (bounds.size if bounds else None)
        if size is None:
            raise ConfigError.one(
                self.label,
                "volume_size",
                "is not given, and there is no chunk to take it from",
                "give --volume-size z y x, or --like with the path of a volume of this size",
            )
        if run.dry_run:
            return
        dtype = self.data_type or (str(chunk.dtype) if chunk else "uint8")
        holds_ids = dtype in ("uint32", "uint64", "int32") or (
            chunk is not None and chunk.is_segmentation
        )
        offset = self.voxel_offset or (bounds.start if bounds else Vec3(0, 0, 0))
        shape = like or chunk
        create_volume(
            self.volume_path,
            bounds=BoundingBox.sized(offset, size),
            voxel_size=self.voxel_size or (shape.voxel_size if shape else (1.0, 1.0, 1.0)),
            block_size=self.block_size,
            dtype=dtype,
            channels=max(self.channel_num, chunk.channels if chunk else 1),
            layer_type=self.layer_type or ("segmentation" if holds_ids else "image"),
            encoding=self.encoding,
            shard_size=self.shard_size,
            factor=self.factor,
            max_mip=self.max_mip,
        )

    def _files(self) -> list[str]:
        """What tells that the volume is there, for the record of a task."""
        from chunkflow_worker.config.facts import PRECOMPUTED
        from chunkflow_worker.storage.path import normal_path
        from chunkflow_worker.volumes.create_volume import format_to_create
        from chunkflow_worker.volumes.open_volume import open_volume

        path = normal_path(self.volume_path)
        if format_to_create(self.volume_path) == PRECOMPUTED:
            return [f"{path}/info"]
        volume = cast("ZarrVolume", open_volume(self.volume_path, 0))
        return [file for file in volume.metadata_files if file.startswith(f"{path}/")]

    def _like(self) -> CheckedVolume | None:
        """The volume to take sizes from. Raises ConfigError if there is none."""
        from chunkflow_worker.volumes.open_volume import open_volume

        return open_volume(self.like, 0) if self.like is not None else None
