"""mask"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.errors import ChunkMismatch, PermanentError
from chunkflow_worker.operator import Operator, Run, Step, split_names
from chunkflow_worker.options import field
from chunkflow_worker.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.chunk import Chunk
    from chunkflow_worker.storage.volume import Volume


class Mask(Operator):
    """Set voxels to zero where a coarser precomputed volume is zero.

    Chunk and mask are matched by voxel size, so neither the chunk's edges nor the ratio of the voxel sizes need to fit: a
    voxel takes the mask at its centre. Outside the mask's volume counts as masked. Differs from chunkflow 1.2.0: chunks that
    are not aligned with the mask's voxels are not shifted, and blocks of the mask that are not there are an error.
    """

    group: ClassVar[str] = "Image"
    op: Literal["mask"] = "mask"
    input_names: str = field("chunk", flag="-i", help="Chunks to mask, separated by commas.")
    output_names: str | None = field(None, flag="-o", help="Chunks to make, separated by commas; the input's when not given.")
    volume_path: str = field(flag="-v", help="Path of the mask's volume.")
    mip: int = field(5, flag="-m", ge=0, help="Mip level of the mask.")
    inverse: bool = field(False, help="Keep the voxels where the mask is zero, instead.")
    fill_missing: bool = field(False, help="Read blocks of the mask that are not there as zeros.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.storage.precomputed import PrecomputedVolume

        inputs, outputs = split_names(self.input_names), split_names(self.output_names or self.input_names)
        if len(inputs) != len(outputs):
            raise PermanentError(f"{len(inputs)} input_names and {len(outputs)} output_names: give as many of each")
        volume = PrecomputedVolume(self.volume_path, self.mip, self.fill_missing)

        def step(task: Task) -> None:
            for source, target in zip(inputs, outputs, strict=True):
                chunk = task.chunk(source)
                keep = mask_of(chunk, volume)
                if self.inverse:
                    keep = ~keep
                task.values[target] = chunk.with_array(np.where(keep, chunk.array, chunk.dtype.type(0)))

        yield step


def mask_of(chunk: Chunk, volume: Volume) -> NDArray[np.bool_]:
    """Whether the mask volume is non-zero at the centre of each voxel of the chunk; shape zyx."""
    import numpy as np

    box = chunk.bbox
    indices = [
        _coarse_index(box.start[axis], box.stop[axis], chunk.voxel_size[axis], volume.voxel_size[axis]) for axis in range(3)
    ]
    first, last = Vec3(*(int(i[0]) for i in indices)), Vec3(*(int(i[-1]) for i in indices))
    needed = BoundingBox(first, last + 1)
    inside = needed.clip(volume.bounds)
    mask = np.zeros(needed.size, bool)
    if inside is not None:
        stored = volume.read(inside)
        if stored.ndim == 4:
            raise ChunkMismatch(f"mask {volume.path} has {volume.channels} channels, and a mask has one")
        mask[inside.slices(first)] = stored != 0
    z, y, x = (index - start for index, start in zip(indices, first, strict=True))
    result: NDArray[np.bool_] = mask[np.ix_(z, y, x)]
    return result


def _coarse_index(start: int, stop: int, fine: float, coarse: float) -> NDArray[Any]:
    """Index of the coarse voxel that holds the centre of each fine voxel, along one axis."""
    import numpy as np

    if coarse < fine * (1 - 1e-6):
        raise ChunkMismatch(f"the mask's voxels of {coarse} nm are finer than the chunk's of {fine} nm: take a coarser mip")
    ratio = coarse / fine
    # Voxel sizes such as 7.16 and 114.56 nm differ from whole ratios by rounding only.
    ratio = round(ratio) if abs(ratio - round(ratio)) < 1e-4 else ratio
    index: NDArray[Any] = np.floor((np.arange(start, stop) + 0.5) / ratio).astype(np.int64)
    return index
