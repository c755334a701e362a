"""generate-tasks"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.masked import masked
from chunkflow_worker.job.masks import Masks
from chunkflow_worker.pipeline.operator import Run, Step, TaskSource
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox


class GenerateTasks(Masks, Grid, TaskSource):
    """Cut a region of interest into boxes; each is a task for the operators that follow.

    With --file-path the boxes are also written to a .npy file (rows of z0 y0 x0 z1 y1 x1) or a .txt
    file. To send them to a queue, use `chunkflow-producer enqueue`, which takes the same options.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -s 0 0 0 -r 256 2048 2048 -c 64 512 512 \
            load-precomputed -v file://em \
            gaussian-filter \
            save-precomputed -v file://smooth
    """
    differs: ClassVar[str] = (
        "--roi-stop works without a volume, and --task-index-stop without --task-index-start."
    )
    is_grid: ClassVar[bool] = True
    local_options: ClassVar[tuple[str, ...]] = ("name", "use_https")
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path", "mask_volume_path")
    writes_files: ClassVar[tuple[str, ...]] = ("file_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-l, --layer-path": "--volume-path",
        "--start": "--roi-start",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "-o, --overlap": (
            "leave it out: boxes do not overlap, and operators read the voxels around them "
            "that they need"
        ),
        "--stride": "leave it out: each box starts where the one before it stops",
    }
    op: Literal["generate-tasks"] = "generate-tasks"
    file_path: str | None = field(None, flag="-f", help="File to write the boxes to, .npy or .txt.")
    queue_name: str | None = field(
        None, flag="-q", help="Refused: chunkflow-producer enqueue sends tasks to a queue."
    )
    disbatch: bool = field(
        False,
        flag="-d",
        help="Take only the box whose index is in the variable DISBATCH_REPEAT_INDEX.",
    )
    use_https: bool = field(
        False, off="--use-credential", help="Read the volume's bounds through a public https link."
    )

    def known_boxes(self) -> Boxes:
        """The boxes of the grid that the masks leave. Reads what it needs of the volumes."""
        return masked(self._grid_boxes(), self, self, use_https=self.use_https)

    def _grid_boxes(self) -> Boxes:
        if self.volume_path is None:
            return self.boxes()
        from chunkflow_worker.volumes.open_volume import volume_bounds

        return self.boxes(volume_bounds(self.volume_path, self.mip or 0, use_https=self.use_https))

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        if self.file_path is not None:
            _write(self.known_boxes(), self.file_path, run.dry_run)
        yield lambda task: None

    def tasks(self) -> Iterator[Task]:
        if self.queue_name is not None:
            raise ConfigError.one(
                "generate-tasks", "queue_name", "the producer sends tasks to a queue",
                f"chunkflow-producer enqueue --queue {self.queue_name}, with the same options",
            )  # fmt: skip
        boxes = self.known_boxes()
        yield from (
            Task(bbox=box) for box in (self._disbatch_box(boxes) if self.disbatch else boxes)
        )

    def _disbatch_box(self, boxes: Boxes) -> list[BoundingBox]:
        import os

        index = os.environ.get("DISBATCH_REPEAT_INDEX", "")
        if not index.isdigit() or int(index) >= len(boxes):
            raise ConfigError.one(
                "generate-tasks",
                "disbatch",
                f"DISBATCH_REPEAT_INDEX is {index!r}",
                f"a number from 0 to {len(boxes) - 1}",
            )
        return [boxes[int(index)]]


def _write(boxes: Boxes, name: str, dry_run: bool) -> None:
    from pathlib import Path

    import numpy as np

    from chunkflow_worker.storage.local_file import atomic_file

    path = Path(name)
    if path.suffix not in (".npy", ".txt"):
        raise ConfigError.one(
            "generate-tasks", "file_path", f"{name} ends in {path.suffix!r}", "legal: .npy, .txt"
        )
    if dry_run:
        return
    rows = np.array([[*box.start, *box.stop] for box in boxes], dtype=np.int64)
    with atomic_file(path) as part, part.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, rows)
        else:
            np.savetxt(file, rows, fmt="%d", delimiter=",")
