"""load-zarr"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

from pydantic import ModelWrapValidatorHandler, field_validator, model_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.zarr_address import with_driver


class LoadZarr(Operator):
    """Read the task's box, with the margin that later operators need, from a Zarr or N5 array.

    If the task has no box, it reads the whole array, and the array's bounds become the task's box.
    Position, voxel size and order of the axes come from OME-Zarr's multiscales, otherwise from what
    is stored with the array. Axes other than z, y, x and channels must be of size 1.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-zarr -f s3://lab/em.zarr -s 0 0 0 -z 64 512 512 save-h5 -f cutout.h5"
    )
    differs: ClassVar[str] = (
        "In chunkflow, the command needs a version of zarr that chunkflow does not work with. "
        "Missing blocks are an error, not zeros."
    )
    reads_paths: ClassVar[tuple[str, ...]] = ("store",)
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"store": ("zarr", "zarr2", "zarr3", "n5")}
    renamed: ClassVar[Mapping[str, str]] = {
        "-b NestedDirectoryStore, --backend NestedDirectoryStore": "--driver local",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "--backend": "leave it out: the format is detected",
    }
    replaces: ClassVar[Mapping[str, str]] = {
        "load-n5": "`load-zarr -f STORE` reads N5 too",
        "load-tensorstore": (
            "`load-zarr -f STORE` reads Zarr and N5, and `load-precomputed -v VOLUME` reads "
            "Precomputed"
        ),
    }
    op: Literal["load-zarr"] = "load-zarr"
    store: str = field(
        flag="-f", help="Path of the store: file://, s3://, gs://, http:// or mem://."
    )
    path: str | None = field(None, flag="-p", help="Array in the store; default: its finest level.")
    chunk_start: Vec3 | None = field(
        None,
        flag="-s",
        help="First voxel to read. If the task has no box, its box starts here; otherwise exactly "
        "this region is read.",
    )
    chunk_size: Vec3 | None = field(None, flag="-z", help="Size to read; needs chunk_start.")
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-v",
        help="Size of a voxel in nanometres; default: the store's, else 1 1 1.",
    )
    driver: Literal["local", "zarr", "zarr3", "n5"] = field(
        "local", flag="-b", help="Format: Zarr 2, Zarr 3 or N5; local detects the format."
    )
    order: Literal["zyx", "xyz"] = field(
        "zyx", help="Order of the axes of a Zarr array that does not name them."
    )
    fill_missing: bool = field(
        False,
        help="Read missing blocks as the fill value; by default, zarr-python does not store "
        "blocks that contain only this value.",
    )
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _sizes = field_validator("voxel_size", "chunk_size")(above_zero)

    @model_validator(mode="wrap")
    @classmethod
    def _take_driver_of_address(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return handler(with_driver(data))

    @model_validator(mode="after")
    def _box_is_whole(self) -> LoadZarr:
        if (self.chunk_start is None) != (self.chunk_size is None):
            raise ValueError("chunk_start and chunk_size need each other: give both or none")
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import Chunk
        from chunkflow_worker.storage.zarr import open_zarr

        driver = None if self.driver == "local" else self.driver
        found = open_zarr(
            self.store,
            self.path,
            driver=driver,
            order=self.order,
            voxel_size=self.voxel_size,
            fill_missing=self.fill_missing,
        )
        if found is None:
            where = f"{self.store}/{self.path}" if self.path else self.store
            raise DataMissing(f"there is no {driver or 'Zarr or N5'} array at {where}")
        volume = found

        def step(task: Task) -> None:
            box = self._box(task, run, volume.bounds)
            try:
                array = volume.read(box)
            except DataMissing as error:
                raise DataMissing(
                    f"{error}; --fill-missing reads missing blocks as the fill value"
                ) from None
            task.voxel_size = task.voxel_size or volume.voxel_size
            task.bytes_read += array.nbytes
            chunk = Chunk(array, box.start, volume.voxel_size, volume.layer_type, volume.bounds)
            task.values[self.output_chunk_name] = chunk

        yield step

    def _box(self, task: Task, run: Run, bounds: BoundingBox) -> BoundingBox:
        asked = (
            BoundingBox.sized(self.chunk_start, self.chunk_size)
            if self.chunk_start and self.chunk_size
            else None
        )
        if task.bbox is not None and asked is not None:
            inside = asked.clip(bounds)
            if inside is None:
                raise BoxOutsideVolume(f"box {asked} is outside {self.store}, which is {bounds}")
            return inside
        task.bbox = task.bbox or asked or bounds
        return run.box_in(bounds, task.bbox, self.store)
