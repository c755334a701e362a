"""load-npy"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.file_reader import FileReader
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LoadNpy(FileReader):
    """Read the task's box, with the margin that later operators need, from a NumPy file, or points.

    If the task has no box, it reads the whole file. A NumPy file does not contain its position,
    voxel size and layer type: give them as options. If the file is named by a prefix and the task's
    box, it starts where that box starts. An array of shape (n, 3) is a list of points, zyx;
    --voxel-offset is added to them.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-npy -f em.npy -t 100 0 0 -s 40 4 4 save-h5 -f em.h5"
    differs: ClassVar[str] = (
        "The two commands of this name are now one. Only what is needed is read. Files that "
        "contain Python objects are refused."
    )
    format: ClassVar[str] = "NumPy"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".npy",)
    op: Literal["load-npy"] = "load-npy"
    voxel_offset: Vec3 = field(
        Vec3(0, 0, 0),
        flag="-t",
        help="Global position of the first voxel, for a file that is not named by a prefix.",
    )
    voxel_size: tuple[float, float, float] = field(
        (1.0, 1.0, 1.0), flag="-s", help="Size of a voxel in nanometres."
    )
    layer_type: Literal["image", "segmentation"] = field(
        "image", flag="-l", help="What the values mean."
    )
    output_name: str = field("chunk", flag="-o", help="Chunk or points to make.")

    _sizes = field_validator("voxel_size")(above_zero)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import Chunk
        from chunkflow_worker.image.points import Points

        def step(task: Task) -> None:
            path = self.path(task.bbox)
            stored = _map(path)
            offset = self.voxel_offset
            if stored.ndim == 2:
                with reading(path, self.format):
                    points = _native(stored)
                task.bytes_read += points.nbytes
                task.values[self.output_name] = Points(
                    points + offset if any(offset) else points, self.voxel_size
                )
                return
            if task.bbox is not None and path != Path(self.file_name):
                if stored.shape[-3:] != task.bbox.size:
                    raise ChunkMismatch(
                        f"{path} holds {list(stored.shape)} voxels, and its box has "
                        f"{list(task.bbox.size)}"
                    )
                offset = task.bbox.start
            bounds = BoundingBox.sized(offset, stored.shape[-3:])
            box = run.box_in(bounds, task.bbox, path)
            with reading(path, self.format):
                array = _native(stored[(..., *box.slices(offset))])
            task.bytes_read += array.nbytes
            task.values[self.output_name] = Chunk(
                array, box.start, self.voxel_size, self.layer_type, bounds
            )

        yield step


def _map(path: Path) -> NDArray[Any]:
    """The array in the file, not read yet. Raises ChunkMismatch if it is no chunk and no points."""
    import numpy as np

    with reading(path, LoadNpy.format):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise ChunkMismatch(f"{path} holds several arrays, and load-npy takes one")
    points = stored.ndim == 2 and stored.shape[1] == 3
    if stored.dtype.kind not in "buif" or not (points or stored.ndim in (3, 4)):
        what = f"shape {stored.shape} and type {stored.dtype}"
        raise ChunkMismatch(
            f"{path} has {what}; a chunk is numbers in zyx or czyx, and points are numbers of "
            "shape (n, 3)"
        )
    return stored


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in memory, in C order and native byte order."""
    import numpy as np

    return np.array(array, array.dtype.newbyteorder("="), order="C", subok=False)
