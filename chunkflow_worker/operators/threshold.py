"""threshold"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class Threshold(Operator):
    """Turn a map into a binary mask: 1 where it is above the threshold, 0 elsewhere.

    Takes any type, zyx or czyx, and makes uint8 of the same shape: an image, also of ids. The
    threshold is in the units of the map.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = "chunkflow load-h5 -f map.h5 threshold -t 0.3 save-h5 -f mask.h5"
    op: Literal["threshold"] = "threshold"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")
    threshold: float = field(0.5, flag="-t", help="Voxels above this become 1.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.conversion import above

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            task.values[self.output_chunk_name] = chunk.with_array(
                above(chunk.array, self.threshold).view("uint8"), layer_type="image"
            )

        yield step
