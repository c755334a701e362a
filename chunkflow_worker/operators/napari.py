"""napari"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task


class Napari(Operator):
    """Show chunks, synapses, points and skeletons as layers in a window of napari.

    The chain continues when the window is closed. Layers are placed in nanometres, so layers with
    different voxel sizes are aligned. Each channel is a separate layer. Segmentations and integers
    of 32 or 64 bits are labels. Synapses are points, with vectors to their postsynaptic sites.
    Needs a screen: neuroglancer shows the same in a browser.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 load-h5 -f seg.h5 -o seg napari -i chunk,seg"
    )
    differs: ClassVar[str] = (
        "Voxel sizes need not be whole numbers. Layers are shown at their global position."
    )
    op: Literal["napari"] = "napari"
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-v", help="Size of a voxel in nanometres; default: each value's own."
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
        from chunkflow_worker.view.napari import check_screen, show

        check_screen()
        needs("napari", extra="napari")

        def step(task: Task) -> None:
            values = {name: task.value(name) for name in self.reads()}
            title = f"{', '.join(values)} of {task.bbox or 'the task'}"
            show(values, title, self.voxel_size)

        yield step
