"""connected-components"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class ConnectedComponents(Operator):
    """Give each connected component of a chunk its own id, counted from 1; 0 is background.

    With a threshold, it takes a map: voxels above the threshold are foreground. Without a
    threshold, it takes a mask or a segmentation; objects with different ids that touch are not
    joined. Makes a segmentation of uint32. Ids start from 1 in every box: unique-labels and the
    operators after it make them those of the whole region.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f cells.h5 connected-components -t 0.5 save-h5 -f objects.h5"
    )
    op: Literal["connected-components"] = "connected-components"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Segmentation to make.")
    threshold: float | None = field(
        None, flag="-t", help="Voxels of a map above this are foreground."
    )
    connectivity: Literal["6", "18", "26"] = field(
        "6",
        flag="-c",
        help="Which voxels are neighbours: those that share a face (6), an edge (18) or a corner "
        "(26).",
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.conversion import above

        cc3d = needs("cc3d", extra="segmentation")

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.channels != 1:
                raise ChunkMismatch(
                    f"{self.input_chunk_name!r} has {chunk.channels} channels: "
                    "connected-components "
                    "takes one, for example from --channels or channel-voting"
                )
            if self.threshold is None and not chunk.holds_objects:
                kind = "a map" if chunk.dtype.kind == "f" else "an image"
                raise ChunkMismatch(
                    f"{self.input_chunk_name!r} is {kind} of {chunk.dtype}: connected-components "
                    "takes a mask or a segmentation; give --threshold, or load object ids with "
                    "--layer-type segmentation"
                )
            labels = chunk.czyx[0]
            foreground = labels if self.threshold is None else above(labels, self.threshold)
            # cc3d misreads a view of a single column of voxels.
            ids = cc3d.connected_components(
                np.ascontiguousarray(foreground),
                connectivity=int(self.connectivity),
                out_dtype="uint32",
            )
            task.values[self.output_chunk_name] = chunk.with_array(ids, layer_type="segmentation")

        yield step
