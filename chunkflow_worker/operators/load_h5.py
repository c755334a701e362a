"""load-h5"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field, with_flag
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.axes import Axes, Window
from chunkflow_worker.storage.formats.h5_file import check_readable, open_h5, voxel_dataset
from chunkflow_worker.storage.formats.h5_metadata import (
    axes_of,
    is_unsigned_in_disguise,
    metadata_of,
)
from chunkflow_worker.storage.largest import check_window
from chunkflow_worker.storage.local_file import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LoadH5(ChunkReader):
    """Read the task's box, with the margin that later operators need, from an HDF5 file.

    If the task has no box, it reads the whole file. Axes, position, voxel size and layer type are
    those of the file, as save-h5, CREMI, funlib, ilastik or Fiji store them, unless given. The type
    is the file's unless --dtype is given. Then uint8 values from 0 to 255 are scaled to float
    values from 0 to 1, and back; other types are not scaled, and values saturate. Ids that the type
    does not hold are refused. An empty file means that the box has no data, and the task is
    skipped.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 -t 0 0 0 -s 32 256 256 save-tif -f cutout.tif"
    )
    differs: ClassVar[str] = (
        "With a prefix, each task has its own file. Of several datasets, main or raw is read, and "
        "without these one must be named; chunkflow reads the first of the alphabet. Voxel size "
        "and place are read in the forms of other programs too. Only the cutout is read. --dtype "
        "scales between uint8 and float. --remove-empty removes empty files, but not files that "
        "hold zeros."
    )
    format: ClassVar[str] = "HDF5"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".h5",)
    formerly: ClassVar[tuple[str, ...]] = ("read-h5",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--offset": "--voxel-offset",
        "--chunk-name": "--output-chunk-name",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "--zero-filling": (
            "a missing file is an error: save zeros in its place, or an empty file, which "
            "skips its task"
        ),
        "--no-zero-filling": "leave it out: a missing file is an error",
    }
    replaces: ClassVar[Mapping[str, str]] = {
        "read-file": "`load-h5` reads HDF5 files, and `load-tif` reads TIFF files",
    }
    op: Literal["load-h5"] = "load-h5"
    dataset_path: str | None = field(
        None,
        flag="-d",
        help="Dataset in the file, for example volumes/raw; default: its only one of voxels, or "
        "among several main or raw.",
    )
    voxel_size: tuple[float, float, float] | None = with_flag(ChunkReader, "voxel_size", "-x")
    dtype: (
        Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16"] | None
    ) = with_flag(ChunkReader, "dtype", "-e")
    channels: str | None = field(
        None,
        flag="-c",
        many=True,
        help="Channels to read, in this order, for example 0,2 or 0-2 (both included); default: "
        "all.",
    )
    cutout_start: Vec3 | None = field(
        None,
        flag="-t",
        help="First voxel to read, global; default: the file's. A cutout overrides the task's box.",
    )
    cutout_stop: Vec3 | None = field(
        None, flag="-p", help="Voxel after the last one to read, global."
    )
    cutout_size: Vec3 | None = field(None, flag="-s", help="Size to read, instead of cutout_stop.")
    set_bbox: bool = field(
        False,
        help="Use the cutout, or the file's box, as the task's box; the margin that later "
        "operators need is read too.",
    )
    remove_empty: bool = field(False, off="--do-not-remove", help="Delete a file that is empty.")

    _cutout_has_voxels = field_validator("cutout_size")(above_zero)

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, value: str | None) -> str | None:
        if value is not None:
            _numbers(value)
        return value

    @model_validator(mode="after")
    def _cutout_is_a_box(self) -> LoadH5:
        if self.cutout_stop is not None and self.cutout_size is not None:
            raise ValueError(
                "cutout_stop and cutout_size both give the end of the cutout: give one of them"
            )
        start, stop = self.cutout_start, self.cutout_stop
        if start is not None and stop is not None and not (start + 1).fits_in(stop):
            raise ValueError(
                f"cutout_start {list(start)} must be before cutout_stop {list(stop)} on each axis"
            )
        return self

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        needs("h5py", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            with open_h5(path) as file:
                data, passed_over = voxel_dataset(file, self.dataset_path, path)
                check_readable(data, path)
                place = f"{path}: dataset {data.name.strip('/')!r}"
                letters, odd_axes = (self.axes, {}) if self.axes else axes_of(data, place)
                axes = Axes(letters, data.shape, place)
                said = metadata_of(data, letters, file)
                other = {"dataset_path": passed_over} if passed_over else {}
                said = replace(said, ignored={**said.ignored, **odd_axes, **other})
                yield StoredChunk(axes.size, partial(self._read, data, axes, path), said)

        return open_file

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        with super().open(run) as read:

            def step(task: Task) -> None:
                self._skip_empty(self.path(task.bbox), run)
                read(task)

            yield step

    def _skip_empty(self, path: Path, run: Run) -> None:
        """Raises SkipTask if the file is empty."""
        with reading(path, self.format):
            is_empty = path.stat().st_size == 0
        if is_empty:
            if self.remove_empty and not run.dry_run:
                path.unlink(missing_ok=True)
            reason = f"{path} is empty, which means that there is nothing here"
            raise SkipTask(reason, empty=not self.set_bbox)  # which would say where

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        return None if self.set_bbox else box

    def path(self, box: BoundingBox | None) -> Path:
        return super().path(self._named_box() or box)

    def _named_box(self) -> BoundingBox | None:
        """The cutout, if the options alone determine it."""
        start, stop = self.cutout_start, self.cutout_stop
        if start is not None and self.cutout_size is not None:
            stop = start + self.cutout_size
        return None if start is None or stop is None else BoundingBox(start, stop)

    def box_to_read(self, task: Task, run: Run, bounds: BoundingBox, path: Path) -> BoundingBox:
        """The box to read from a file that holds `bounds`. Sets the task's box with set_bbox."""
        cutout = self._cutout(bounds, path)
        asked = cutout or task.bbox or bounds
        inside = asked.clip(bounds)
        if inside is None:
            raise BoxOutsideVolume(f"box {asked} is outside {path}, which is {bounds}")
        if self.set_bbox:
            task.bbox = inside
        elif cutout is not None:
            return cutout
        if task.bbox is None:
            return inside
        return run.needed_box(task.bbox, bounds).clip(bounds) or inside

    def _cutout(self, bounds: BoundingBox, path: Path) -> BoundingBox | None:
        if self.cutout_start is None and self.cutout_stop is None and self.cutout_size is None:
            return None
        start = bounds.start if self.cutout_start is None else self.cutout_start
        stop = bounds.stop if self.cutout_stop is None else self.cutout_stop
        stop = stop if self.cutout_size is None else start + self.cutout_size
        if not (
            bounds.start.fits_in(start) and (start + 1).fits_in(stop) and stop.fits_in(bounds.stop)
        ):
            raise BoxOutsideVolume(
                f"the cutout from {list(start)} to {list(stop)} is not inside {path}, which is "
                f"{bounds}"
            )
        return BoundingBox(start, stop)

    def _read(self, data: Any, axes: Axes, path: Path, window: Window) -> NDArray[Any]:
        import numpy as np

        wanted = _numbers(self.channels) if self.channels else []
        stored = sorted(set(wanted)) or None
        if stored and (axes.channels is None or stored[-1] >= axes.channels):
            has = (
                f"has the channels 0 to {axes.channels - 1}" if axes.channels else "has no channels"
            )
            raise ChunkMismatch(
                f"{path} {has}, and the option asks for channels {self.channels}: "
                "leave --channels out"
            )
        channels = len(stored or ()) or axes.channels or 1
        check_window(window, data.dtype.itemsize * channels, f"{path}: the part to read")
        array = axes.arrange(data[axes.selection(window, stored)], window)
        if stored and wanted != stored:
            array = array[[stored.index(channel) for channel in wanted]]
        if is_unsigned_in_disguise(data):
            array = array.astype("int16").view("uint16")
        return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _numbers(text: str) -> list[int]:
    """Channel numbers from text such as ``0,2`` or ``0-2``. Raises ValueError."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError("takes channel numbers, for example 0,2 or 0-2")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers
