"""relabel"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

_ANSWERS = 24
"""Answers that stay in memory: those of the regions above a box, which neighbours share."""


class Relabel(Operator):
    """Give the objects of all boxes their final ids, after unique-labels and merge-labels.

    Takes the segmentation that unique-labels made. An object has one id in all boxes; objects that
    merge-labels dropped become 0. Without --compact, the id of an object is 1 + the index of
    its first voxel in the whole region, which does not depend on how the region was cut.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v s3://lab/parts -c 256 512 512 \
            load-precomputed -v s3://lab/parts \
            relabel -w s3://lab/labels --compact -d uint32 \
            save-precomputed -v s3://lab/objects
    """
    reads_paths: ClassVar[tuple[str, ...]] = ("work_path",)
    op: Literal["relabel"] = "relabel"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Segmentation to make.")
    work_path: str = field(flag="-w", help="Folder that merge-labels wrote to.")
    compact: bool = field(
        False, help="Number the objects from 1 on, without gaps, in a fixed order."
    )
    dtype: Literal["uint32", "uint64"] = field(
        "uint64", flag="-d", help="Type of the ids; those that it does not hold are an error."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.labels.answer import settle_all
        from chunkflow_worker.labels.folder import Folder

        fastremap = needs("fastremap", extra="segmentation")
        folder = Folder(self.work_path)
        answer = lru_cache(_ANSWERS)(folder.answer)

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            labels = chunk.object_ids(self.input_chunk_name)
            if labels.dtype != np.uint64:
                raise ChunkMismatch(
                    f"{self.input_chunk_name!r} is {labels.dtype}: relabel takes the uint64 ids "
                    "that unique-labels made"
                )
            local, numbers = fastremap.renumber(labels, preserve_zero=True)
            table = np.zeros(max(numbers.values(), default=0) + 1, np.uint64)
            for label, number in numbers.items():
                table[number] = label
            table[1:] = settle_all(folder.layout(), table[1:], answer, self.compact)
            made = chunk.with_array(
                table[local].reshape(chunk.array.shape), layer_type="segmentation"
            )
            task.values[self.output_chunk_name] = made.as_dtype(self.dtype)

        yield step
