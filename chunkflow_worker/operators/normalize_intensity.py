"""normalize-intensity"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class NormalizeIntensity(Operator):
    """Scale grey values from the range 0 to 255 to the range -1 to 1.

    Takes uint8 and makes float32: grey / 127.5 - 1.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = r"""
        chunkflow load-tif -f em.tif \
            normalize-intensity \
            inference -f pytorch -m net.py -w net.pt -s 16 128 128 -v 4 32 32 -c 1 \
            save-h5 -f map.h5
    """
    differs: ClassVar[str] = (
        "Any other type is refused, because its values would get another scale."
    )
    op: Literal["normalize-intensity"] = "normalize-intensity"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    @property
    def output_type(self) -> str:
        return "float32"

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.dtype != np.uint8:
                raise ChunkMismatch(
                    f"takes grey values of type uint8, and {self.input_chunk_name!r} is "
                    f"{chunk.dtype}"
                )
            array = task.image(self.input_chunk_name).array.astype(np.float32)
            array /= 127.5
            array -= 1
            task.values[self.output_chunk_name] = chunk.with_array(array)

        yield step
