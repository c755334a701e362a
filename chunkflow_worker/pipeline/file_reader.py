"""`FileReader` and `ChunkReader`: what the operators that read files have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import file_to_read, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import LayerType, VoxelSize

Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class StoredChunk:
    """A chunk in an open file.

    size: of the whole chunk in voxels, zyx.
    read: returns the voxels of a window, zyx or czyx. The window counts from the first voxel, zyx.
    voxel_offset, voxel_size, layer_type: as the file says; None if it does not say.
    """

    size: tuple[int, ...]
    read: Callable[[Window], NDArray[Any]]
    voxel_offset: Vec3 | None = None
    voxel_size: VoxelSize | None = None
    layer_type: LayerType | None = None


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


class ChunkReader(FileReader):
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
        None, flag="-l", help="What the values mean; default: the file's, else image."
    )
    dtype: (
        Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16"] | None
    ) = field(None, flag="-d", help="Type to convert to; default: the file's.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _sizes = field_validator("voxel_size")(above_zero)

    @abstractmethod
    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        """Import what reads the format; returns the function that opens a file.

        Raises ConfigError if a library is missing.
        """

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import UNKNOWN_SIZE, Chunk

        open_file = self.opener()

        def step(task: Task) -> None:
            path = self.path(task.bbox)
            with reading(path, self.format), open_file(path) as stored:
                offset = self.voxel_offset or stored.voxel_offset or Vec3(0, 0, 0)
                bounds = BoundingBox.sized(offset, stored.size)
                box = self.box_to_read(task, run, bounds, path)
                array = stored.read(box.slices(offset))
            task.bytes_read += array.nbytes
            voxel_size = self.voxel_size or stored.voxel_size or UNKNOWN_SIZE
            layer_type = self.layer_type or stored.layer_type or "image"
            chunk = Chunk(array, box.start, voxel_size, layer_type, bounds)
            task.values[self.output_chunk_name] = (
                chunk.as_dtype(self.dtype) if self.dtype else chunk
            )

        yield step

    def box_to_read(self, task: Task, run: Run, bounds: BoundingBox, path: Path) -> BoundingBox:
        """The box to read from a file that holds `bounds`. Raises BoxOutsideVolume."""
        return run.box_in(bounds, task.bbox, path)
