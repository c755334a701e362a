"""channel-voting"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class ChannelVoting(Operator):
    """Give each voxel the number of the channel with the highest value, counted from 1.

    For a classifier, this is the most likely class. Takes czyx with up to 255 channels and makes a
    segmentation, zyx of uint8. If several channels have the highest value, the first of them wins.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = "chunkflow load-h5 -f classes.h5 channel-voting save-tif -f winner.tif"
    differs: ClassVar[str] = (
        "More than 255 channels are refused; with 256 channels, the number of the last one became "
        "0."
    )
    op: Literal["channel-voting"] = "channel-voting"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read, with several channels.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.array.ndim != 4 or not 2 <= chunk.channels <= 255:
                raise ChunkMismatch(
                    f"{self.input_chunk_name!r} has the shape {chunk.array.shape}: "
                    "czyx with 2 to 255 channels is needed"
                )
            winners = chunk.array.argmax(axis=0).astype("uint8") + 1
            task.values[self.output_chunk_name] = chunk.with_array(
                winners, layer_type="segmentation"
            )

        yield step
