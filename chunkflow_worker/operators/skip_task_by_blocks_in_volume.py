"""skip-task-by-blocks-in-volume"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task


class SkipTaskByBlocksInVolume(Operator):
    """Skip a task if every block that its box touches is stored in a volume.

    The box is cut at the volume's bounds.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            skip-task-by-blocks-in-volume -v file://smooth \
            load-precomputed -v file://em \
            gaussian-filter \
            save-precomputed -v file://smooth
    """
    differs: ClassVar[str] = "An empty volume skips nothing."
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    op: Literal["skip-task-by-blocks-in-volume"] = "skip-task-by-blocks-in-volume"
    volume_path: str = field(flag="-v", help="Path of the volume.")
    mip: int = field(
        0,
        flag="-m",
        ge=0,
        help="Mip level of the volume; the task's box counts voxels of this level.",
    )
    use_https: bool = field(
        False, off="--use-credential", help="Read through public https links, without credentials."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.volumes.open_volume import open_volume

        volume = open_volume(self.volume_path, self.mip, use_https=self.use_https, output=True)

        def step(task: Task) -> None:
            if task.bbox is None:
                cure = "put generate-tasks or create-bbox first"
                raise ConfigError.one(self.label, "box", "the task has no box", cure)
            box = task.bbox.clip(volume.bounds)
            if box is None:
                raise BoxOutsideVolume(
                    f"box {task.bbox} is outside {volume.path}, which is {volume.bounds}"
                )
            if not volume.missing(box):
                raise SkipTask(f"all blocks are in {volume.path}")

        yield step
