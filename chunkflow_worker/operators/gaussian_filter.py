"""gaussian-filter"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

_REACH = 4  # radius of the kernel in sigmas


class GaussianFilter(Operator):
    """Smooth each section of a chunk with a Gaussian along y and x.

    Sections and channels are not mixed. The type stays the same; integers are rounded. A margin of
    4 sigma around the output is read, so that the result does not depend on how the boxes are cut.
    At the volume's border the image is reflected.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = (
        "chunkflow load-tif -f em.tif gaussian-filter -s 2 save-tif -f smooth.tif"
    )
    differs: ClassVar[str] = (
        "Integers are rounded; chunkflow truncated them twice, which made them darker."
    )
    op: Literal["gaussian-filter"] = "gaussian-filter"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to smooth, in place.")
    sigma: int = field(1, flag="-s", ge=1, help="Standard deviation in voxels.")

    @property
    def margin(self) -> Vec3:
        reach = _REACH * self.sigma
        return Vec3(0, reach, reach)

    def writes(self) -> tuple[str, ...]:
        return (self.input_chunk_name,)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.conversion import saturate

        ndimage = needs("scipy.ndimage", extra="image")

        def step(task: Task) -> None:
            chunk = task.image(self.input_chunk_name)
            made = np.empty(chunk.czyx.shape, chunk.dtype)
            for source, target in zip(chunk.czyx, made, strict=True):
                real = source.astype(np.result_type(source, np.float32))
                smooth = ndimage.gaussian_filter(
                    real, self.sigma, mode="reflect", truncate=_REACH, axes=(1, 2)
                )
                if chunk.dtype.kind == "b":
                    np.rint(smooth, out=smooth)
                is_integer = chunk.dtype.kind in "ui"
                target[...] = saturate(smooth, chunk.dtype) if is_integer else smooth
            task.values[self.input_chunk_name] = chunk.with_array(made.reshape(chunk.array.shape))

        yield step
