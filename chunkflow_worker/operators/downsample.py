"""downsample"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class Downsample(Operator):
    """Make a chunk of larger voxels: the mean of an image, the most frequent id of a segmentation.

    Offset, voxel size and bounds are converted to the larger voxels; dtype and channels stay the
    same. The larger voxels are aligned to multiples of the factor, counted from 0. Away from the
    image's border, the chunk must start and stop at such multiples, and the loading operators read
    enough voxels for this. At the border, a voxel is made from the voxels that exist.

    A segmentation, and integers of 32 bits or more, take the most frequent id; if several are
    equally frequent, the first in zyx order. Other integers round to the nearest.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 downsample -f 1 2 2 save-h5 -f small.h5"
    differs: ClassVar[str] = (
        "Means are rounded; chunkflow truncated them, so each level of a pyramid was darker. Every "
        "factor takes the most frequent id. Channels are not mixed. Integers of 16 bits are an "
        "image unless the chunk says that it is a segmentation."
    )
    moves_box: ClassVar[bool] = True
    op: Literal["downsample"] = "downsample"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")
    factor: Vec3 = field(Vec3(2, 2, 2), flag="-f", help="How many times larger the voxels become.")

    _sizes = field_validator("factor")(above_zero)

    @property
    def downsampling_factor(self) -> Vec3:
        return self.factor

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        whole = box.downsample(self.factor).upsample(self.factor)
        return whole if bounds is None else whole.clip(bounds) or whole

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        return box  # only its chunks may lie elsewhere, or have other voxels

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.pyramid import downsample

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            # The task's box counts the voxels of the input.
            task.voxel_size = task.voxel_size or chunk.voxel_size
            task.values[self.output_chunk_name] = downsample(chunk, self.factor)

        yield step
