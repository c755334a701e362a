"""`Sizing`: the box size of an inference job, for the memory of its workers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.fit import Fit, fit_box
from chunkflow_worker.inference.lattice import Lattice, PatchShape, make_lattice
from chunkflow_worker.inference.plan import memory


@dataclass(frozen=True)
class Sizing:
    """What decides how large the boxes of a job can be. The image is uint8, with one channel.

    margin: voxels that are computed around a box and cut off.
    unit: the size of a box is a multiple of it.
    channels: of the output.
    dtype: of the computed output.
    stored: type of the output in the volume.
    """

    shape: PatchShape
    margin: Vec3
    unit: Vec3
    channels: int
    dtype: str
    stored: str

    def lattice(self, size: Vec3) -> Lattice:
        """The patches of a box of that size, away from the border of the image."""
        box = BoundingBox.sized((0, 0, 0), size)
        return make_lattice("chunk", box, self.shape, margin=self.margin)

    def bytes_needed(self, size: Vec3) -> int:
        """Memory for a task whose patches run, and for a second one that is read or written."""
        task = memory(self.lattice(size), 1, self.channels, "uint8", self.dtype, self.channels)
        converted = 0 if self.stored == self.dtype else size.product * self.channels * 4
        return task.total + max(task.image, task.output + converted)

    def fit(self, extent: Vec3, limit: int) -> Fit | None:
        """The best box for a volume of that size, within `limit` bytes. See `fit_box`."""
        return fit_box(self.shape, self.margin, extent, self.unit, limit, self.bytes_needed)

    def smallest(self) -> Vec3:
        """Size of the smallest possible box."""
        fit = self.fit(Vec3(1, 1, 1), 1 << 60)
        assert fit is not None, "2^60 bytes hold the smallest box"
        return fit.size

    def lines(self, fit: Fit, block: Vec3) -> Iterator[str]:
        """The sizes of a box, its patches and its blocks, for people."""
        shape, lattice = self.shape, self.lattice(fit.size)
        utilization = fit.size.product / (lattice.count * shape.output.product)
        context = lattice.box.start - lattice.input_box.start
        block_bytes = block.product * self.channels * np.dtype(self.stored).itemsize
        yield f"input patch size: {_text(shape.input)}"
        yield f"output patch size: {_text(shape.output)}"
        yield f"output patch overlap: {_text(shape.overlap)}, stride {_text(shape.stride)}"
        yield f"crop chunk margin: {_text(self.margin)}"
        yield f"patch num: {_text(fit.patches)}, {lattice.count} patches per box"
        yield f"output chunk size: {_text(fit.size)}"
        yield (
            f"input chunk size: {_text(lattice.input_box.size)}, "
            f"{_text(context)} voxels more on each side"
        )
        yield f"block size: {_text(block)}, {block_bytes / 1e6:.3g} MB before compression"
        yield f"voxel utilization: {utilization:.0%}"


def _text(value: Vec3) -> str:
    return " ".join(map(str, value))
