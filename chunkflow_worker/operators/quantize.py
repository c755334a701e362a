"""quantize"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task


class Quantize(Converter):
    """Turn a map into a uint8 image for viewing: values 0 to 1 become greys 0 to 255.

    Takes float values and makes zyx. The input is an affinity map of 3 channels (the affinities
    along x, y and z), or a probability map of one channel.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f affinities.h5 quantize --mode z save-pngs -o pictures/"
    )
    differs: ClassVar[str] = "Greys are rounded, not truncated. Values outside 0 to 1 saturate."
    op: Literal["quantize"] = "quantize"
    input_chunk_name: str = field("chunk", flag="-i", help="Map to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Image to make.")
    mode: Literal["xy", "z"] = field(
        "xy",
        help="For an affinity map: the mean of the affinities along x and y, or the affinity along "
        "z.",
    )
    scale: tuple[float, float] | None = scale_option()

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            chunk = task.image(self.input_chunk_name)
            if chunk.dtype.kind != "f" or chunk.channels not in (1, 3):
                raise ChunkMismatch(
                    f"{self.input_chunk_name!r} is {chunk.dtype} of shape {chunk.array.shape}: a "
                    "map is needed, "
                    "float of 3 channels (affinities) or of one (a probability)"
                )
            affinities = chunk.channels == 3
            grey = (
                chunk.czyx[:2].mean(axis=0) if affinities and self.mode == "xy" else chunk.czyx[-1]
            )
            task.values[self.output_chunk_name] = self.converted(
                chunk.with_array(grey), "uint8", task
            )

        yield step
