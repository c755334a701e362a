"""save-npy"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import OneBoxPerFile, atomic_file, own_file, task_file

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk

log = logging.getLogger(__name__)


class SaveNpy(Operator):
    """Write a chunk to a NumPy file, which appears whole or not at all.

    The chunk is cut to the task's box. The file holds only voxels, zyx or czyx: load-npy needs the
    position, voxel size and layer type as options, and a warning shows these options. save-h5
    stores them in the file.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 save-npy -f em.npy"
    differs: ClassVar[str] = "This operator is new."
    writes_files: ClassVar[tuple[str, ...]] = ("file_name",)
    op: Literal["save-npy"] = "save-npy"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    file_name: str = field(
        flag="-f",
        help="File; a name that does not end in .npy is a prefix: the box and .npy are added.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(self.file_name, box, ".npy")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        warned: set[str] = set()
        files = OneBoxPerFile.named_by("file_name", self.file_name, ".npy", workers=run.recorded)

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            path = task_file(self.file_name, task.bbox or chunk.bbox, ".npy")
            files.claim(path, task.bbox or chunk.bbox)
            if run.dry_run:
                return
            with atomic_file(path) as part, part.open("wb") as file:
                np.save(file, chunk.array, allow_pickle=False)
            task.bytes_written += chunk.array.nbytes
            lost = _lost(chunk, named_by_box=path != Path(self.file_name))
            if lost and lost not in warned:
                warned.add(lost)
                log.warning(
                    "%s holds only voxels; to get the rest back, load it with: load-npy%s",
                    path,
                    lost,
                )

        yield step


def _lost(chunk: Chunk, named_by_box: bool) -> str:
    """The options for load-npy that give what the file does not hold."""
    place = (
        ""
        if named_by_box or not any(chunk.voxel_offset)
        else " --voxel-offset {} {} {}".format(*chunk.voxel_offset)
    )
    size = (
        "" if chunk.voxel_size == (1, 1, 1) else " --voxel-size {} {} {}".format(*chunk.voxel_size)
    )
    return (
        place + size + (" --layer-type segmentation" if chunk.layer_type == "segmentation" else "")
    )
