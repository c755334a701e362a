"""neuroglancer"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event
from typing import ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.say import say


class Neuroglancer(Operator):
    """Show chunks, synapses, points and skeletons as layers of a Neuroglancer page.

    The chain continues after Enter or Ctrl-C. The page is served on 127.0.0.1 only and needs no
    other server; its address is printed. Images are grey, with the contrast of their values. Floats
    from 0 to 1 are a probability map, and so is an image of any type over another chunk: coloured
    where it is high. Three channels are an affinity map, in red, green and blue. Segmentations and
    integers of 32 or 64 bits are objects.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 load-h5 -f seg.h5 -o seg neuroglancer -i chunk,seg"
    )
    differs: ClassVar[str] = (
        "Voxel sizes need not be whole numbers. No other machine can open the page."
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "-c, --chunk-names": "--inputs",
    }
    op: Literal["neuroglancer"] = "neuroglancer"
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-v", help="Size of a voxel in nanometres; default: each value's own."
    )
    port: int | None = field(
        None, flag="-p", ge=0, le=65535, help="Port of the page; default: a free one."
    )
    inputs: str = field(
        "chunk",
        flag="-i",
        many=True,
        help="Values to show, separated by commas; the first is the lowest layer.",
    )

    _sizes = field_validator("voxel_size")(above_zero)

    def reads(self) -> tuple[str, ...]:
        return split_names(self.inputs)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        needs("neuroglancer", extra="view")
        from chunkflow_worker.view.neuroglancer import serve

        def step(task: Task) -> None:
            values = {name: task.value(name) for name in self.reads()}
            served = serve(values, self.voxel_size, self.port or 0)
            with served as viewer, suppress(KeyboardInterrupt):  # also right after the link
                say(f"{', '.join(values)} of {task.bbox or 'the task'}: {viewer.get_viewer_url()}")
                _wait_for_the_user()

        yield step


def _wait_for_the_user() -> None:
    """Wait for Enter or Ctrl-C; only for Ctrl-C without a terminal."""
    with suppress(KeyboardInterrupt, EOFError):
        say("Enter or Ctrl-C continues")
        if sys.stdin is not None and sys.stdin.isatty():
            input()
        else:
            Event().wait()
