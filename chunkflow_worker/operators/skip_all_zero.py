"""skip-all-zero"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.flags import Flags


class SkipAllZero(Operator):
    """Skip a task if all voxels of a chunk are zero, including what was read around the box.

    NaN is not zero. With a prefix, an empty file named by the box is created, for other programs.
    The later operators write nothing for such a box; its record says that it was skipped, and why.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            skip-all-zero \
            save-h5 -f cutouts/
    """
    writes_paths: ClassVar[tuple[str, ...]] = ("prefix",)
    flags: ClassVar[tuple[str, ...]] = ("prefix",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-e, --pre": "--prefix",
        "-t, --post": "--suffix",
        "-g, --grow-size": "--adjust-size",
    }
    op: Literal["skip-all-zero"] = "skip-all-zero"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to check.")
    prefix: str | None = field(
        None,
        flag="-p",
        help="Start of the file's name, with its folder or address; default: no file.",
    )
    suffix: str = field("", flag="-s", help="End of the file's name, after the box.")
    adjust_size: int | None = field(
        None, flag="-a", help="Voxels by which the box in the name is larger, on each side."
    )
    chunk_bbox: bool = field(
        True,
        off="--task-bbox",
        help="Name the file by the chunk's box without margins, or by the task's box.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        flags = self._flags()
        with suppress(ConfigError, ChunkMismatch):  # there is no box for the name of a file
            named = self._box(task, box)
            return [flags.name(named)] if flags and named else []
        return []

    def _flags(self) -> Flags | None:
        if self.prefix is None:
            return None
        return Flags(self.prefix, self.suffix, self.adjust_size or 0)

    def _box(self, task: Task, box: BoundingBox | None) -> BoundingBox | None:
        """The box in the name of the file: that of the chunk, or `box`. None if it is missing."""
        if not self.chunk_bbox:
            return box
        has_chunk = self.input_chunk_name in task.values
        return task.chunk_to_save(self.input_chunk_name).bbox if has_chunk else None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        flags = self._flags()

        def step(task: Task) -> None:
            if task.chunk(self.input_chunk_name).array.any():
                return
            if flags is not None and not run.dry_run:
                flags.mark(self._box(task, task.bbox))
            raise SkipTask(f"all voxels of {self.input_chunk_name!r} are zero", empty=True)

        yield step
