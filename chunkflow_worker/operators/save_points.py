"""save-points"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.formats.h5_file import create_h5
from chunkflow_worker.storage.local_file import (
    OneBoxPerFile,
    atomic_file,
    in_folder,
    own_file,
    task_file,
)


class SavePoints(Operator):
    """Write points to an HDF5 file, which appears whole or not at all.

    The file contains `points` (n, 3), zyx, and `voxel_size` in nanometres.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = (
        "chunkflow load-npy -f somata.npy -s 40 4 4 -o somata save-points -i somata -f somata.h5"
    )
    differs: ClassVar[str] = "With a folder or prefix, each task has its own file."
    writes_files: ClassVar[tuple[str, ...]] = ("file_path",)
    op: Literal["save-points"] = "save-points"
    input_name: str = field("point_cloud", flag="-i", help="Points to write.")
    file_path: str = field(
        flag="-f",
        help="File that ends in .h5, else a folder or prefix: the box and .h5 are added.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(in_folder(self.file_path), box, ".h5")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.points import Points

        needs("h5py", extra="files")
        files = OneBoxPerFile.named_by("file_path", self.file_path, ".h5", workers=run.recorded)

        def step(task: Task) -> None:
            points = task.values.get(self.input_name)
            if not isinstance(points, Points):
                raise ChunkMismatch(
                    f"{self.input_name!r} is a {type(points).__name__}, and points are needed"
                )
            path = task_file(in_folder(self.file_path), task.bbox, ".h5")
            if task.bbox is not None:
                files.claim(path, task.bbox)
            if run.dry_run:
                return
            with atomic_file(path) as part, create_h5(part) as file:
                file["points"] = points.array
                file["voxel_size"] = points.voxel_size
            task.bytes_written += points.array.nbytes

        yield step
