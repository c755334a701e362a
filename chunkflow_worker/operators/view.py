"""view"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class View(Operator):
    """Show a chunk in the browser, with a segmentation over it if one is named.

    The chain continues after Ctrl-C. CloudVolume's viewer serves the page on http://127.0.0.1:8080.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 load-h5 -f seg.h5 -o seg view --segmentation-chunk-name seg"
    )
    differs: ClassVar[str] = (
        "Voxel size and position are shown. The segmentation is the value of the given name."
    )
    op: Literal["view"] = "view"
    image_chunk_name: str = field("chunk", help="Chunk to show.")
    segmentation_chunk_name: str | None = field(
        None, help="Segmentation of the same box to show over it."
    )

    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in (self.image_chunk_name, self.segmentation_chunk_name) if name)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.view.microviewer import show

        def step(task: Task) -> None:
            chunk = task.chunk(self.image_chunk_name)
            place = chunk.voxel_size, chunk.voxel_offset
            if self.segmentation_chunk_name is not None:
                _, objects = task.chunks_of_one_box(
                    self.image_chunk_name, self.segmentation_chunk_name
                )
                show(chunk.array, objects.object_ids(self.segmentation_chunk_name), *place)
            elif chunk.is_segmentation:
                show(None, chunk.object_ids(self.image_chunk_name), *place)
            else:
                show(chunk.array, None, *place)

        yield step
