"""save-npy"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.local_file import OneBoxPerFile, local_name, task_file, whole_file
from chunkflow_worker.operator import Operator, Run, Step
from chunkflow_worker.options import field
from chunkflow_worker.task import Task


class SaveNpy(Operator):
    """Write a chunk to a NumPy file, which appears whole or not at all; its counterpart is load-npy.

    The chunk is cut to the task's box. The file holds voxels alone, zyx or czyx: place and voxel size are for load-npy to
    be told, so save-h5 is the better format to keep. Not in chunkflow 1.2.0.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 save-npy -f em.npy"
    op: Literal["save-npy"] = "save-npy"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    file_name: str = field(flag="-f", help="File, or a prefix when it does not end in .npy: the box and .npy are appended.")

    _local = field_validator("file_name")(local_name)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        files = OneBoxPerFile(cure="leave .npy off file_name: as a prefix it names another file for each box")

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            path = task_file(self.file_name, task.bbox or chunk.bbox, ".npy")
            files.claim(path, task.bbox or chunk.bbox)
            if run.dry_run:
                return
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, chunk.array, allow_pickle=False)
            task.bytes_written += chunk.array.nbytes

        yield step
