"""save-pngs"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import OneBoxPerFile, atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk


class SavePngs(Converter):
    """Write a grey PNG picture of every section, named by its global z, for example 00042.png.

    The chunk is cut to the task's box. Float values from 0 to 1 become 0 to 255; all other values
    saturate. For uint16 pictures, float values are not scaled. Ids that the type does not hold are
    refused. A float map of 3 channels becomes the mean of the last two, 0 to 255.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 save-pngs -o sections/"
    differs: ClassVar[str] = (
        "Values never wrap around. Boxes that would overwrite each other's sections are refused. "
        "A margin that is left around the task's box is cut off."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("output_path",)
    formerly: ClassVar[tuple[str, ...]] = ("save-images", "write-pngs")
    op: Literal["save-pngs"] = "save-pngs"
    input_chunk_name: str = field(
        "chunk", flag="-i", help="Chunk to write: one channel, or a float map of 3 channels."
    )
    dtype: Literal["uint8", "uint16"] = field("uint8", flag="-t", help="Type of the pictures.")
    scale: tuple[float, float] | None = scale_option()
    output_path: str = field(
        "./pngs/", flag="-o", help="Folder to write to; it is created if missing."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        image = needs("PIL.Image", extra="files")
        files = OneBoxPerFile(
            cure="use boxes that span y and x, or one output_path for each column of boxes"
        )

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            if (
                run.recorded
                and chunk.bounds is not None
                and not chunk.bbox.contains(_section(chunk.bounds, chunk.bbox.start.z))
            ):
                problem = (
                    f"is a part of its sections, which are {chunk.bounds}: workers would overwrite "
                    "each other's pictures"
                )
                raise ConfigError.one(self.label, f"box {chunk.bbox}", problem, files.cure)
            for z, picture in enumerate(self._pictures(chunk, task), chunk.voxel_offset.z):
                path = Path(self.output_path) / f"{z:05d}.png"
                files.claim(path, _section(chunk.bbox, z))
                if not run.dry_run:
                    with atomic_file(path) as part:
                        image.fromarray(picture).save(part, "PNG")
                    task.bytes_written += picture.nbytes

        yield step

    def _pictures(self, chunk: Chunk, task: Task) -> NDArray[Any]:
        """The sections, zyx, in the type of the pictures."""
        import numpy as np

        array, dtype = chunk.array, self.dtype
        if array.ndim == 4 and array.shape[0] == 3 and array.dtype.kind == "f":
            array = array[1:].mean(axis=0, dtype=np.float32)
            dtype = self.dtype if self.scale else "uint8"
        elif array.ndim == 4 and array.shape[0] == 1:
            array = array[0]
        elif array.ndim == 4:
            raise ChunkMismatch(
                f"{self.input_chunk_name!r} has {array.shape[0]} channels of type {array.dtype}, "
                "and a picture is grey: "
                "takes one channel, or a float map of 3 channels; load one, for example with "
                "load-h5 --channels 0"
            )
        made = self.converted(chunk.with_array(array), dtype, task)
        return np.ascontiguousarray(made.array, self.dtype)


def _section(box: BoundingBox, z: int) -> BoundingBox:
    return BoundingBox(Vec3(z, box.start.y, box.start.x), Vec3(z + 1, box.stop.y, box.stop.x))
