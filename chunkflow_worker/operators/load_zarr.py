"""load-zarr"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

from pydantic import ModelWrapValidatorHandler, field_validator, model_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.pipeline.volume_reader import read_chunk
from chunkflow_worker.volumes.zarr.address import with_driver


class LoadZarr(Operator):
    """Read the task's box, with the margin that later operators need, from a Zarr or N5 array.

    If the task has no box, it reads the whole array, and the array's bounds become the task's box.
    Position, voxel size and axes come from the OME-Zarr multiscales of a group above the array,
    otherwise from what n5-viewer, COSEM, Paintera, funlib, xarray or tensorstore stored with it. A
    warning names what is stored and can't be used, and the option that replaces it. A label image
    of OME-Zarr is a segmentation. An array without z is one section.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-zarr -f s3://lab/em.zarr -s 0 0 0 -z 64 512 512 save-h5 -f cutout.h5"
    )
    differs: ClassVar[str] = (
        "In chunkflow, the command needs a version of zarr that chunkflow does not work with. "
        "Missing blocks are an error, not zeros."
    )
    describes_arrays: ClassVar[bool] = True
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
    path: str | None = field(
        None,
        flag="-p",
        help="Array or group in the store; default: the store itself. Of a group, the finest level "
        "is read.",
    )
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
    voxel_offset: Vec3 | None = field(
        None, help="Global position of the array's first voxel; default: the store's, else 0 0 0."
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None,
        flag="-l",
        help="What the values mean; default: the store's, else image. But integers of 32 or 64 "
        "bits are ids unless image is given here.",
    )
    time_point: int | None = field(
        None, ge=0, help="Time point to read; needed if the array has several."
    )
    driver: Literal["local", "zarr", "zarr3", "n5"] = field(
        "local", flag="-b", help="Format: Zarr 2, Zarr 3 or N5; local detects the format."
    )
    order: Literal["zyx", "xyz"] | None = field(
        None, help="Order of the axes of a Zarr array that does not name them; default: zyx."
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
        from chunkflow_worker.volumes.zarr.volume import open_zarr

        self._check_folder()
        driver = None if self.driver == "local" else self.driver
        found = open_zarr(
            self.store,
            self.path,
            driver=driver,
            order=self.order,
            voxel_size=self.voxel_size,
            voxel_offset=self.voxel_offset,
            time_point=self.time_point,
            fill_missing=self.fill_missing,
        )
        if found is None:
            raise self._nothing(driver or "Zarr or N5")
        volume = found

        def step(task: Task) -> None:
            box = self._box(task, run, volume.bounds)
            chunk = read_chunk(
                volume,
                box,
                task,
                self.layer_type,
                "the fill value",
                fill_missing=self.fill_missing,
            )
            task.values[self.output_chunk_name] = chunk

        yield step

    def _check_folder(self) -> None:
        """Raises ConfigError if the store is a file."""
        from chunkflow_worker.storage.file_kind import file_kind
        from chunkflow_worker.storage.path import local_folder, normal_path
        from chunkflow_worker.volumes.zarr.metadata import METADATA_FILES

        store = normal_path(self.store)
        local = local_folder(store)
        packed = store.endswith(".zip")
        if packed or (local is not None and local.is_file()):
            cure = "unpack it" if packed else "load-h5, load-tif and others read files"
            if store.rpartition("/")[2] in METADATA_FILES:
                cure = f"give its folder, {self.store.rpartition('/')[0] or '.'}"
            kind = (local and file_kind(local)) or "a file"
            problem = f"{self.store} is {kind}, and a Zarr or N5 store is a folder"
            raise ConfigError.one(self.label, "store", problem, cure)

    def _nothing(self, kind: str) -> ConfigError:
        """The error for a store without an array; a precomputed volume is told."""
        from chunkflow_worker.storage.path import normal_path
        from chunkflow_worker.volumes.zarr.store import read_json

        info, _ = read_json(normal_path(self.store), "info")
        if isinstance(info, dict) and "scales" in info:
            problem = f"{self.store} is a precomputed volume"
            cure = f"read it with load-volume -v {self.store}"
            return ConfigError.one(self.label, "store", problem, cure)
        where = f"{self.store}/{self.path}" if self.path else self.store
        cure = "check the path; --path names an array in a group"
        if self.driver != "local":
            cure += "; without --driver, the format is detected"
        return ConfigError.one(self.label, "store", f"there is no {kind} array at {where}", cure)

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
