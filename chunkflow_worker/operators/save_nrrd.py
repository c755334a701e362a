"""save-nrrd"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import OneBoxPerFile, atomic_file, own_file, task_file

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk

_BEST_FOR_THE_TIME = 3


class SaveNrrd(Operator):
    """Write a chunk to an NRRD file, which appears whole or not at all.

    The chunk is cut to the task's box. NRRD lists the fastest axis first: the axes of the header
    are x, y, z, then channels, with their labels. The header gives the origin, and the step of each
    axis in nanometres. The type stays; NRRD has no half floats.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-h5 -f seg.h5 save-nrrd -f seg.nrrd"
    differs: ClassVar[str] = "In chunkflow, the command calls a method that does not exist."
    writes_files: ClassVar[tuple[str, ...]] = ("file_name",)
    formerly: ClassVar[tuple[str, ...]] = ("write-nrrd",)
    op: Literal["save-nrrd"] = "save-nrrd"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    file_name: str | None = field(
        None,
        flag="-f",
        help="File; a name that does not end in .nrrd is a prefix: the box and .nrrd are added; "
        "default: the box alone.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(self.file_name or "", box, ".nrrd")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        nrrd = needs("nrrd", extra="files")
        files = OneBoxPerFile.named_by(
            "file_name", self.file_name or "", ".nrrd", workers=run.recorded
        )

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            if chunk.dtype.kind not in "uif" or chunk.dtype.name == "float16":
                raise ChunkMismatch(
                    f"NRRD has no {chunk.dtype}, the type of {self.input_chunk_name!r}: "
                    f"load it with --dtype {'uint8' if chunk.dtype.kind == 'b' else 'float32'}"
                )
            path = task_file(self.file_name or "", task.bbox or chunk.bbox, ".nrrd")
            files.claim(path, task.bbox or chunk.bbox)
            if run.dry_run:
                return
            with atomic_file(path) as part:
                nrrd.write(
                    str(part),
                    chunk.array,
                    _header(chunk),
                    index_order="C",
                    compression_level=_BEST_FOR_THE_TIME,
                )
            task.bytes_written += chunk.array.nbytes

        yield step


def _header(chunk: Chunk) -> dict[str, Any]:
    import numpy as np

    size, channels = chunk.voxel_size[::-1], chunk.array.ndim - 3
    # The axis of channels has no direction in space: pynrrd writes `none` for NaN.
    directions = np.full((3 + channels, 3), np.nan)
    directions[:3] = np.diag(size)
    return {
        "space dimension": 3,
        "space units": ["nm", "nm", "nm"],
        "labels": ["x", "y", "z", "c"][: 3 + channels],
        "kinds": ["domain", "domain", "domain", "list"][: 3 + channels],
        "space directions": directions,
        "space origin": np.multiply(chunk.voxel_offset[::-1], size),
        "encoding": "gzip",
        "layer_type": chunk.layer_type,
    }
