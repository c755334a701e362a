"""skip-none"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.flags import Flags


class SkipNone(Operator):
    """Skip a task if a value is None or empty, for example if there are no points.

    With a prefix, an empty file named by the task's box is created, for other programs. For chunks
    of zeros, see skip-all-zero.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-file -f boxes.npy \
            load-synapses -f found/ \
            skip-none -i syns \
            save-synapses -f kept/
    """
    writes_paths: ClassVar[tuple[str, ...]] = ("prefix",)
    flags: ClassVar[tuple[str, ...]] = ("prefix",)
    op: Literal["skip-none"] = "skip-none"
    input_name: str = field("chunk", flag="-i", help="Value to check.")
    touch: bool = field(True, help="Create the file, if there is a prefix.")
    prefix: str | None = field(
        None,
        flag="-p",
        help="Start of the file's name, with its folder or address; default: no file.",
    )
    suffix: str | None = field(None, flag="-s", help="End of the file's name, after the box.")

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        flags = self._flags()
        return [flags.name(box)] if flags else []

    def _flags(self) -> Flags | None:
        is_asked = self.touch and self.prefix is not None
        return Flags(self.prefix or "", self.suffix or "") if is_asked else None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        flags = self._flags()

        def step(task: Task) -> None:
            value = task.values.get(self.input_name)
            if value is not None and (not hasattr(value, "__len__") or len(value) > 0):
                return
            if flags is not None and not run.dry_run:
                flags.mark(task.bbox)
            raise SkipTask(f"there is nothing in {self.input_name!r}", empty=True)

        yield step
