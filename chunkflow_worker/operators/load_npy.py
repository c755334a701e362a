"""load-npy"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.file_reader import FileReader
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.axes import Axes, check_letters, colours_last
from chunkflow_worker.storage.file_kind import file_kind
from chunkflow_worker.storage.local_file import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


_AXES = {3: "zyx", 4: "czyx"}


class LoadNpy(FileReader):
    """Read the task's box, with the margin that later operators need, from a NumPy file, or points.

    If the task has no box, it reads the whole file. A NumPy file does not contain its position,
    voxel size and layer type: give them as options. If the file is named by a prefix and the task's
    box, it starts where that box starts. An array of shape (n, 3) is a list of points, zyx;
    --voxel-offset is added to them. --axes yx reads it as one section of 3 columns.
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
    formerly: ClassVar[tuple[str, ...]] = ("read-npy",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-n": "--name",
        "--file-path": "--file-name",
        "-r, --resolution": "--voxel-size",
    }
    op: Literal["load-npy"] = "load-npy"
    voxel_offset: Vec3 = field(
        Vec3(0, 0, 0),
        flag="-t",
        help="Global position of the first voxel, for a file that is not named by a prefix.",
    )
    voxel_size: tuple[float, float, float] = field(
        (1.0, 1.0, 1.0), flag="-s", help="Size of a voxel in nanometres."
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None,
        flag="-l",
        help="What the values mean; default: image. But integers of 32 or 64 bits are ids unless "
        "image is given here.",
    )
    axes: str | None = field(
        None,
        help="The array's axes, slowest first, for example zyxc; default: zyx or czyx, or points.",
    )
    output_name: str = field("chunk", flag="-o", help="Chunk or points to make.")

    _letters = field_validator("axes")(check_letters)
    _sizes = field_validator("voxel_size")(above_zero)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.chunk import Chunk
        from chunkflow_worker.image.points import Points

        def step(task: Task) -> None:
            path = self.path(task.bbox)
            stored = _map(path)
            offset = self.voxel_offset
            if stored.ndim == 2 and stored.shape[1] == 3 and self.axes is None:
                with reading(path, self.format):
                    points = np.array(stored, stored.dtype.newbyteorder("="), subok=False)
                task.bytes_read += points.nbytes
                task.values[self.output_name] = Points(
                    points + offset if any(offset) else points, self.voxel_size
                )
                return
            axes = self._axes(stored.shape, path)
            if task.bbox is not None and path != Path(self.file_name):
                if axes.size != task.bbox.size:
                    raise ChunkMismatch(
                        f"{path} holds {list(stored.shape)} voxels, and its box has "
                        f"{list(task.bbox.size)}"
                    )
                offset = task.bbox.start
            bounds = BoundingBox.sized(offset, axes.size)
            box = run.box_in(bounds, task.bbox, path)
            window = box.slices(offset)
            with reading(path, self.format):
                part = axes.arrange(stored[axes.selection(window)], window)
                array = np.array(part, part.dtype.newbyteorder("="), order="C", subok=False)
            task.bytes_read += array.nbytes
            is_image = self.layer_type == "image"
            task.values[self.output_name] = Chunk(
                array, box.start, self.voxel_size, self.layer_type or "image", bounds, is_image
            )

        yield step

    def _axes(self, shape: tuple[int, ...], path: Path) -> Axes:
        letters = self.axes or _AXES.get(len(shape))
        if letters is None:
            raise ChunkMismatch(
                f"{path} has shape {shape}; a chunk is numbers in zyx or czyx, and points are "
                "numbers of shape (n, 3): --axes names the axes of another array, for example yx"
            )
        if text := colours_last(shape, letters):
            self.tell({"axes": text})
        return Axes(letters, shape, str(path))


def _map(path: Path) -> NDArray[Any]:
    """The array in the file, not read yet. Raises ChunkMismatch unless it holds numbers."""
    import numpy as np

    with reading(path, LoadNpy.format):
        if file_kind(path) == "empty":
            raise ChunkMismatch(f"{path} is empty: its writer may not have finished")
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, TokenError) as error:  # numpy reads headers as Python code
            if "pickled" in str(error):  # numpy says so of all that it does not know
                raise ValueError("it does not begin like one") from error
            if "mmap length" in str(error):  # the voxels end too early
                raise
            if not re.search("Object arrays|Python objects", str(error)):
                raise ValueError("its header is damaged; copy or make it again") from error
            raise ChunkMismatch(
                f"{path} holds Python objects, which are not read since they can run code: save an "
                "array of numbers"
            ) from None
    if not isinstance(stored, np.ndarray):
        names = ", ".join(stored.files[:8])
        stored.close()
        raise ChunkMismatch(
            f"{path} holds several arrays ({names}), as .npz: save one alone with numpy.save"
        )
    if stored.dtype.names:
        raise ChunkMismatch(
            f"{path} holds a table with the fields {', '.join(stored.dtype.names)}: save one of "
            "them alone with numpy.save"
        )
    if stored.dtype.kind not in "buif" or stored.dtype.itemsize > 8:
        raise ChunkMismatch(
            f"{path} has shape {stored.shape} and type {stored.dtype}; a chunk is numbers in zyx "
            "or czyx, and points are numbers of shape (n, 3)"
        )
    return stored
