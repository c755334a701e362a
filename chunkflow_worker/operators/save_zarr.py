"""save-zarr"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import ModelWrapValidatorHandler, field_validator, model_validator

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Written
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.zarr.address import with_driver

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize
    from chunkflow_worker.volumes.zarr.volume import ZarrVolume

_BLOCK = Vec3(64, 64, 64)


class SaveZarr(Converter):
    """Write a chunk to a level of an OME-Zarr or N5 image, and check that it is stored.

    Whole blocks are written. The image is created with the first chunk: a group with axes, voxel
    size and translation in nanometres, and in it the array of the level. Several workers may start
    at the same time. Values are converted to the array's type: float values from 0 to 1 become 0 to
    255 for uint8; all other values saturate. Ids that the type does not hold are refused. A box
    that would share a block with a neighbour is refused, unless it ends where the image ends.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            save-zarr -s s3://lab/em.zarr -c 64 128 128 -b zarr3
    """
    differs: ClassVar[str] = (
        "The default type is the chunk's, not float64. The axes of a new image are zyx, not xyz. A "
        "margin that is left around the task's box is cut off."
    )
    saves: ClassVar[VolumeOptions] = {"store": "mip"}
    creates_output: ClassVar[bool] = True
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"store": ("zarr", "zarr2", "zarr3", "n5")}
    renamed: ClassVar[Mapping[str, str]] = {
        "-s Z Y X": "--shape Z Y X",
        "-p": "--shape",
    }
    op: Literal["save-zarr"] = "save-zarr"
    store: str = field(flag="-s", help="Path of the store: file://, s3://, gs:// or mem://.")
    shape: Vec3 | None = field(
        None,
        help="Size of a new image, zyx; default: the size of the chunk's volume.",
    )
    voxel_offset: Vec3 | None = field(
        None,
        help="Global position of the first voxel of a new image; default: that of the chunk's "
        "volume, or 0 0 0 if shape is given.",
    )
    resolution: tuple[float, float, float] | None = field(
        None,
        flag="-r",
        help="Size of a voxel at mip 0 in nanometres, which doubles with each mip; default: the "
        "chunk's own.",
    )
    mip: int | None = field(None, flag="-m", ge=0, help="Mip level to write; default: 0.")
    dtype: str | None = field(None, help="Type of a new image; default: the chunk's.")
    scale: tuple[float, float] | None = scale_option()
    infer_dtype: bool = field(
        False,
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect, since the type is "
        "the chunk's unless dtype is given.",
    )
    chunk_size: Vec3 | None = field(
        None, flag="-c", help="Size of the blocks of a new image; default: 64 64 64."
    )
    order: str | None = field(
        None,
        flag="-o",
        help="Order of the axes of a new Zarr image, xyz or zyx; default: that of its other "
        "levels, else zyx. For N5 it is xyz.",
    )
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    driver: Literal["zarr", "zarr3", "n5"] = field(
        "zarr", flag="-b", help="Format: Zarr 2 with OME-Zarr 0.4, Zarr 3 with OME-Zarr 0.5, or N5."
    )

    _sizes = field_validator("shape", "resolution", "chunk_size")(above_zero)

    @model_validator(mode="wrap")
    @classmethod
    def _take_driver_of_address(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return handler(with_driver(data))

    @field_validator("order")
    @classmethod
    def _is_an_order(cls, value: str | None) -> str | None:
        if value is not None and value.lower() not in ("xyz", "zyx"):
            raise ValueError("takes xyz or zyx")
        return value and value.lower()

    @field_validator("dtype")
    @classmethod
    def _is_a_type(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", value):
            raise ValueError("takes a type of numbers, for example uint8 or float32")
        return value

    def left_empty(self, box: BoundingBox) -> list[Written]:
        existing = self._existing()
        path, order = (existing.path, existing.order) if existing else (self._level(), "")
        return [Written(path, 0, str(box), empty=True, driver=self.driver, order=order)]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.pipeline.saving import (
            check_voxel_size,
            part_inside,
            write_verified,
        )
        from chunkflow_worker.storage.written_file import note_shared

        opened: list[ZarrVolume] = []
        opening = Lock()

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            with opening:
                if not opened:
                    found = self._volume(chunk, task, run)
                    if found is None:
                        return
                    opened.append(found)
            volume = opened[0]
            if self.resolution is None:
                check_voxel_size(chunk, volume)
            chunk = part_inside(chunk, volume, task)
            if run.dry_run:
                return
            write_verified(chunk, volume, task, self)
            for path in volume.metadata_files:
                note_shared(path)

        yield step

    def _volume(self, chunk: Chunk, task: Task, run: Run) -> ZarrVolume | None:
        """The level to write; created if missing, or None in a dry run."""
        from chunkflow_worker.volumes.zarr.create import create_zarr

        order = cast(Literal["xyz", "zyx"] | None, self.order)
        existing = self._existing()
        if existing is not None:
            self._check(existing, chunk)
            return existing
        bounds = self._bounds(chunk, task)
        if run.dry_run:
            return None
        if chunk.is_segmentation:  # ids that do not fit are refused before there is an image
            chunk = chunk.as_dtype(self.dtype or chunk.dtype, self.scale)
        return create_zarr(
            self.store,
            self.mip or 0,
            driver=self.driver,
            bounds=bounds,
            voxel_size=self._voxel_size() or chunk.voxel_size,
            block_size=self.chunk_size or _BLOCK,
            dtype=self.dtype or chunk.dtype.name,
            channels=chunk.array.shape[0] if chunk.array.ndim == 4 else 0,
            layer_type=chunk.layer_type,
            order=order,
        )

    def _level(self) -> str:
        """Path of the array of a new level."""
        from chunkflow_worker.storage.path import normal_path
        from chunkflow_worker.volumes.zarr.new import level_name

        return f"{normal_path(self.store)}/{level_name(self.driver, self.mip or 0)}"

    def _existing(self) -> ZarrVolume | None:
        """The level to write, if it exists."""
        from chunkflow_worker.volumes.zarr.new import level_name
        from chunkflow_worker.volumes.zarr.volume import open_level

        order = cast(Literal["xyz", "zyx"] | None, self.order)
        name = level_name(self.driver, self.mip or 0)
        # chunkflow 1.2.0 stores the array at the store's own path.
        return open_level(self.store, name, self.driver, order) or open_level(
            self.store, "", self.driver, order
        )

    def _voxel_size(self) -> VoxelSize | None:
        if self.resolution is None:
            return None
        z, y, x = (r * 2 ** (self.mip or 0) for r in self.resolution)
        return (z, y, x)

    def _bounds(self, chunk: Chunk, task: Task) -> BoundingBox:
        if self.shape is not None:
            return BoundingBox.sized(self.voxel_offset or (0, 0, 0), self.shape)
        bounds = chunk.bounds or (chunk.bbox if task.bbox is None else None)
        if bounds is None:
            problem = (
                "is not given, there is no image yet, and the chunk does not contain the size of "
                "its volume"
            )
            raise ConfigError.one(self.label, "shape", problem, "give --shape z y x")
        return (
            bounds
            if self.voxel_offset is None
            else BoundingBox.sized(self.voxel_offset, bounds.size)
        )

    def _check(self, volume: ZarrVolume, chunk: Chunk) -> None:
        """Raises ConfigError if an existing image differs from the options or the chunk."""
        size = self._voxel_size()
        expected = {
            "shape": (self.shape, volume.bounds.size),
            "voxel_offset": (self.voxel_offset, volume.bounds.start),
            "resolution": (size, volume.voxel_size),
            "dtype": (self.dtype, volume.dtype.name),
            "chunk_size": (
                self.chunk_size and self.chunk_size.min(volume.bounds.size),
                volume.block_size,
            ),
        }
        for option, (given, stored) in expected.items():
            if given is not None and given != stored:
                problem = f"the options ask for {given}, but {volume.path} has {stored}"
                raise ConfigError.one(
                    self.label, option, problem, "choose another store, or give what it has"
                )
        if chunk.channels != volume.channels:
            raise ChunkMismatch(
                f"{volume.path} has {volume.channels} channels, and the chunk has {chunk.channels}"
            )
