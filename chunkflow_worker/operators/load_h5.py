"""load-h5"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field, with_flag
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk, Window
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.local_file import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import LayerType

NOT_VOXELS = ("global", "offset", "unique", "voxel_size")


class LoadH5(ChunkReader):
    """Read the task's box, with the margin that later operators need, from an HDF5 file.

    If the task has no box, it reads the whole file. The type is the file's unless --dtype is given.
    Then uint8 values from 0 to 255 are scaled to float values from 0 to 1, and back; other types
    are not scaled, and values saturate. An empty file means that the box has no data, and the task
    is skipped.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 -t 0 0 0 -s 32 256 256 save-tif -f cutout.tif"
    )
    differs: ClassVar[str] = (
        "With a prefix, each task has its own file. Only the cutout is read. --dtype scales "
        "between uint8 and float. --remove-empty removes empty files, but not files that hold "
        "zeros."
    )
    format: ClassVar[str] = "HDF5"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".h5",)
    op: Literal["load-h5"] = "load-h5"
    dataset_path: str | None = field(
        None, flag="-d", help="Dataset in the file; default: the first one that contains voxels."
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
        h5py = needs("h5py", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            with h5py.File(path, "r") as file:
                data = _dataset(file, self.dataset_path, h5py.Dataset, path)
                z, y, x = _three(file, "voxel_size", path) or (1.0, 1.0, 1.0)
                yield StoredChunk(
                    data.shape[-3:],
                    partial(self._read, data, path),
                    voxel_offset=Vec3.of(_three(file, "voxel_offset", path) or (0, 0, 0)),
                    voxel_size=(float(z), float(y), float(x)),
                    layer_type=_layer_type(file),
                )

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
            raise SkipTask(f"{path} is empty, which means that there is nothing here")

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

    def _read(self, data: Any, path: Path, window: Window) -> NDArray[Any]:
        import numpy as np

        if self.channels is None:
            array = data[(..., *window)]
        else:
            wanted = _numbers(self.channels)
            if data.ndim == 3 or max(wanted) >= data.shape[0]:
                have = (
                    "has no channels"
                    if data.ndim == 3
                    else f"has the channels 0 to {data.shape[0] - 1}"
                )
                raise ChunkMismatch(
                    f"{path} {have}, and the option asks for channels {self.channels}"
                )
            stored = sorted(set(wanted))
            array = data[(stored, *window)]
            array = array if stored == wanted else array[[stored.index(c) for c in wanted]]
        return np.asarray(array, data.dtype.newbyteorder("="))


def _numbers(text: str) -> list[int]:
    """Channel numbers from text such as ``0,2`` or ``0-2``. Raises ValueError."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError("takes channel numbers, for example 0,2 or 0-2")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers


def _dataset(file: Any, name: str | None, kind: type, path: Path) -> Any:
    """The dataset that holds the voxels. Raises ChunkMismatch, which lists the datasets."""
    if name is None:
        name = next(
            (
                n
                for n in file
                if isinstance(file[n], kind) and not any(word in n for word in NOT_VOXELS)
            ),
            None,
        )
    data = file.get(name) if name else None
    if not isinstance(data, kind):
        wanted = f"no dataset {name!r}" if name else "no dataset of voxels"
        raise ChunkMismatch(f"{path} has {wanted}; at its root: {', '.join(file) or 'nothing'}")
    if data.ndim not in (3, 4) or data.dtype.kind not in "buif":  # type: ignore[attr-defined]
        what = f"shape {data.shape} and type {data.dtype}"  # type: ignore[attr-defined]
        raise ChunkMismatch(
            f"{path}: dataset {name!r} has {what}; a chunk is numbers in zyx or czyx"
        )
    return data


def _three(file: Any, name: str, path: Path) -> list[Any] | None:
    """Three numbers that are stored beside the voxels; None if they are not."""
    if name not in file:
        return None
    numbers: list[Any] = file[name][()].ravel().tolist()
    if len(numbers) != 3:
        raise ChunkMismatch(f"{path}: its {name} holds {numbers}, not three numbers z y x")
    return numbers


def _layer_type(file: Any) -> LayerType:
    stored = file.attrs.get("layer_type", "image")
    return "segmentation" if stored in ("segmentation", b"segmentation") else "image"
