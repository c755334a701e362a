"""`FileReader` and `ChunkReader`: what the operators that read files have in common."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from dataclasses import field as field_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.axes import Window, check_letters
from chunkflow_worker.storage.local_file import file_to_read, reading
from chunkflow_worker.storage.voxel_metadata import VoxelMetadata, is_same_size, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_TURNED = "says that 0 is white, so its values are turned to make it black"


@dataclass(frozen=True)
class StoredChunk:
    """A chunk in an open file.

    size: of the whole chunk in voxels, zyx.
    read: returns the voxels of a window, zyx or czyx. The window counts from the first voxel, zyx.
    metadata: what the file says of the voxels.
    """

    size: tuple[int, ...]
    read: Callable[[Window], NDArray[Any]]
    metadata: VoxelMetadata = field_of(default_factory=VoxelMetadata)


class FileReader(Operator):
    """Base of operators that read a file for each task.

    format: name of the format in errors.
    endings: of the names of its files, with the dot. The first one is added to a prefix.
    """

    format: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    file_name: str = field(
        flag="-f",
        help="File. If its name has no extension of the format and no such file exists, it is a "
        "prefix: the task's box and the extension are added.",
    )

    def path(self, box: BoundingBox | None) -> Path:
        """The file of a task. Raises ConfigError if it is named by a box and the task has none."""
        return file_to_read(self.file_name, box, *self.endings)

    def tell(self, ignored: Mapping[str, str]) -> None:
        """Warn once of what the files say and this operator does not take.

        ignored: by the option that sets it; given options are passed over. See VoxelMetadata.
        """
        flags: dict[str, list[str]] = {}
        for option, text in ignored.items():
            if getattr(self, option) is None:
                flags.setdefault(text, []).append(f"--{option.replace('_', '-')}")
        told = [
            f"{text} ({' and '.join(names)} {'set it' if len(names) > 1 else 'sets it'})"
            if text != _TURNED
            else f"{text} (--no-invert keeps them)"
            for text, names in flags.items()
        ]
        if told:
            warn_once(log, f"{self.file_name} {', and '.join(told)}")


class ChunkReader(FileReader, Converter):
    """Base of operators that read a chunk, whose place and meaning the file may hold."""

    voxel_offset: Vec3 | None = field(
        None,
        flag="-v",
        help="Global position of the file's first voxel; default: the file's, else 0 0 0.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-s",
        help="Size of a voxel in nanometres; default: the file's, else 1 1 1.",
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None,
        flag="-l",
        help="What the values mean; default: the file's, else image. But integers of 32 or 64 bits "
        "are ids unless image is given here.",
    )
    dtype: (
        Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16"] | None
    ) = field(None, flag="-d", help="Type to convert to; default: the file's.")
    scale: tuple[float, float] | None = scale_option()
    axes: str | None = field(
        None,
        help="The file's axes, slowest first, for example zyxc; default: as the file says, else "
        "zyx or czyx.",
    )
    invert: bool | None = field(
        None,
        help="Turn the values, so that the largest becomes 0; default: if the file says that 0 is "
        "white, and not for a segmentation.",
    )
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _sizes = field_validator("voxel_size")(above_zero)
    _letters = field_validator("axes")(check_letters)

    @abstractmethod
    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        """Import what reads the format; returns the function that opens a file.

        Raises ConfigError if a library is missing.
        """

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import UNKNOWN_SIZE, Chunk

        open_file = self.opener()
        told: set[str] = set()  # the files of all boxes say the same, about other numbers

        def step(task: Task) -> None:
            path = self.path(task.bbox)
            with reading(path, self.format), open_file(path) as stored:
                said = stored.metadata
                voxel_size = self.voxel_size or said.voxel_size
                place, problem = said.offset(voxel_size)
                layer_type = self.layer_type or said.layer_type or "image"
                is_turned = said.white is not None and layer_type == "image"
                ignored = dict(said.ignored)
                if problem:
                    ignored["voxel_offset"] = problem
                if is_turned:
                    ignored["invert"] = _TURNED
                self._compare_sizes(said.voxel_size)
                self.tell({name: text for name, text in ignored.items() if name not in told})
                told.update(ignored)
                offset = self.voxel_offset or place or Vec3(0, 0, 0)
                bounds = BoundingBox.sized(offset, stored.size)
                box = self.box_to_read(task, run, bounds, path)
                array = stored.read(box.slices(offset))
            task.bytes_read += array.nbytes
            if is_turned if self.invert is None else self.invert:
                array = self._turned(array, said.white)
            is_image = self.layer_type == "image"
            chunk = Chunk(
                array, box.start, voxel_size or UNKNOWN_SIZE, layer_type, bounds, is_image
            )
            task.values[self.output_chunk_name] = self.converted(chunk, self.dtype, task)

        yield step

    def _compare_sizes(self, stated: tuple[float, float, float] | None) -> None:
        """Warn once if the user gives another voxel size than the file, perhaps by mistake."""
        if stated and self.voxel_size and not is_same_size(stated, self.voxel_size):
            own, given = plain(stated), plain(self.voxel_size)
            text = (
                f"{self.file_name} states voxels of {own} nm, and --voxel-size {given} replaces it"
            )
            warn_once(log, text, about=f"another voxel size than in {self.file_name}")

    def _turned(self, array: NDArray[Any], white: int | None) -> NDArray[Any]:
        """The values turned, in place; of any shape. white: the largest that the file can hold."""
        import numpy as np

        if array.dtype.kind not in "ub":
            raise ChunkMismatch(
                f"{self.file_name} holds {array.dtype}, and --invert takes values from 0 to a "
                "largest one: convert it to uint8 or uint16 first"
            )
        if array.dtype.kind == "b":
            np.logical_not(array, out=array)
        else:
            largest = np.iinfo(array.dtype).max if white is None else white
            np.subtract(array.dtype.type(largest), array, out=array)
        return array

    def box_to_read(self, task: Task, run: Run, bounds: BoundingBox, path: Path) -> BoundingBox:
        """The box to read from a file that holds `bounds`. Raises BoxOutsideVolume."""
        return run.box_in(bounds, task.bbox, path)
