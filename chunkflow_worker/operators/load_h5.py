"""load-h5"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.local_file import file_to_read, local_name, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import LayerType

NOT_VOXELS = ("global", "offset", "unique", "voxel_size")


class LoadH5(Operator):
    """Read the task's box, and what later operators need around it, from an HDF5 file.

    Without a task's box it reads the whole file. The type is the file's unless --dtype is given: then unsigned 8 bit
    becomes float from 0 to 1 and back, and everything else saturates. An empty file means that there is nothing here, and
    ends the task as skipped. Differs from chunkflow 1.2.0: a prefix names another file for each task, only the cutout is
    read, --dtype scales between unsigned 8 bit and float, and --remove-empty removes empty files only, not such that hold zeros.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 -t 0 0 0 -s 32 256 256 save-tif -f cutout.tif"
    )
    op: Literal["load-h5"] = "load-h5"
    file_name: str = field(
        flag="-f",
        help="File; where there is none, a name that does not end in .h5 is a prefix: the box and .h5 are appended.",
    )
    dataset_path: str | None = field(
        None, flag="-d", help="Dataset inside the file; the first that holds voxels when not given."
    )
    dtype: Literal["float32", "float64", "uint16", "uint32", "uint64", "uint8"] | None = field(
        None, flag="-e", help="Type to convert to; the file's when not given."
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None, flag="-l", help="What the values mean; the file's when not given, else image."
    )
    voxel_offset: Vec3 | None = field(
        None,
        flag="-v",
        help="Global position of the file's first voxel; the file's when not given, else 0 0 0.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-x",
        help="Size of a voxel in nanometres; the file's when not given, else 1 1 1.",
    )
    channels: str | None = field(
        None,
        flag="-c",
        help="Channels to read, in this order, for example 0,2 or 0-2 (both included); all when not given.",
    )
    cutout_start: Vec3 | None = field(
        None,
        flag="-t",
        help="First voxel to read, global; the file's when not given. A cutout overrides the task's box.",
    )
    cutout_stop: Vec3 | None = field(
        None, flag="-p", help="Voxel behind the last one to read, global."
    )
    cutout_size: Vec3 | None = field(None, flag="-s", help="Size to read, instead of cutout_stop.")
    set_bbox: bool = field(
        False,
        help="Make the cutout, or the file's box, the task's box; what later operators need around it is read too.",
    )
    remove_empty: bool = field(False, off="--do-not-remove", help="Remove a file that is empty.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _local = field_validator("file_name")(local_name)

    _sizes = field_validator("voxel_size", "cutout_size")(above_zero)

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, value: str | None) -> str | None:
        if value is not None:
            _numbers(value)
        return value

    @model_validator(mode="after")
    def _cutout_is_a_box(self) -> LoadH5:
        if self.cutout_stop is not None and self.cutout_size is not None:
            raise ValueError("cutout_stop and cutout_size say the same: give one of them")
        start, stop = self.cutout_start, self.cutout_stop
        if start is not None and stop is not None and not (start + 1).fits_in(stop):
            raise ValueError(
                f"cutout_start {list(start)} must lie before cutout_stop {list(stop)} on each axis"
            )
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import Chunk

        h5py = needs("h5py", extra="files")

        def step(task: Task) -> None:
            path = file_to_read(self.file_name, self._named_box() or task.bbox, ".h5")
            with reading(path, "HDF5"):
                empty = path.stat().st_size == 0
            if empty:
                if self.remove_empty and not run.dry_run:
                    path.unlink(missing_ok=True)
                raise SkipTask(f"{path} is empty, which means that there is nothing here")
            with reading(path, "HDF5"):
                file = h5py.File(path, "r")
            with file:
                with reading(path, "HDF5"):
                    data = _dataset(file, self.dataset_path, h5py.Dataset, path)
                    offset = self.voxel_offset or Vec3.of(
                        _three(file, "voxel_offset", path) or (0, 0, 0)
                    )
                    z, y, x = self.voxel_size or _three(file, "voxel_size", path) or (1.0, 1.0, 1.0)
                    layer_type = self.layer_type or _layer_type(file)
                    bounds = BoundingBox.sized(offset, data.shape[-3:])
                box = self._box(task, run, bounds, path)
                with reading(path, "HDF5"):
                    array = self._read(data, box.slices(offset), path)
            task.bytes_read += array.nbytes
            chunk = Chunk(array, box.start, (float(z), float(y), float(x)), layer_type, bounds)
            task.values[self.output_chunk_name] = (
                chunk.as_dtype(self.dtype) if self.dtype else chunk
            )

        yield step

    def _named_box(self) -> BoundingBox | None:
        """The cutout, where the options alone say what it is."""
        start, stop = self.cutout_start, self.cutout_stop
        if start is not None and self.cutout_size is not None:
            stop = start + self.cutout_size
        return None if start is None or stop is None else BoundingBox(start, stop)

    def _box(self, task: Task, run: Run, bounds: BoundingBox, path: Path) -> BoundingBox:
        """The box to read from a file that holds `bounds`. Gives the task its box with set_bbox."""
        cutout = self._cutout(bounds, path)
        asked = cutout or task.bbox or bounds
        inside = asked.clip(bounds)
        if inside is None:
            raise BoxOutsideVolume(f"box {asked} lies outside {path}, which is {bounds}")
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
                f"the cutout from {list(start)} to {list(stop)} does not lie in {path}, which is {bounds}"
            )
        return BoundingBox(start, stop)

    def _read(self, data: Any, window: tuple[slice, slice, slice], path: Path) -> NDArray[Any]:
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
                raise ChunkMismatch(f"{path} {have}, and channels {self.channels} are to be read")
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
    """The dataset that holds the voxels. Raises ChunkMismatch that lists what there is."""
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
    """Three numbers stored beside the voxels; None when they are not."""
    if name not in file:
        return None
    numbers: list[Any] = file[name][()].ravel().tolist()
    if len(numbers) != 3:
        raise ChunkMismatch(f"{path}: its {name} holds {numbers}, not three numbers z y x")
    return numbers


def _layer_type(file: Any) -> LayerType:
    stored = file.attrs.get("layer_type", "image")
    return "segmentation" if stored in ("segmentation", b"segmentation") else "image"
