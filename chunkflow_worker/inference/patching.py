"""`Patching`: how boxes are cut into patches, and the image that the patches of a box read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import Lattice, LatticeKind, PatchShape, make_lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk

Border = Literal["inward", "reflect", "zeros"]


@dataclass(frozen=True)
class Patching:
    """The options that decide where the patches of a box lie.

    margin: how far the patches of a chunk lattice reach over the box, in voxels.
    border: what happens at the image's border: patches are moved inward, or the image is extended
        by reflection or by zeros.
    """

    kind: LatticeKind
    shape: PatchShape
    margin: Vec3
    border: Border = "inward"

    def lattice(self, box: BoundingBox, bounds: BoundingBox | None = None) -> Lattice:
        """The patches that produce `box`, of an image that ends at `bounds`. See `make_lattice`."""
        inside = bounds if self.border == "inward" else None
        return make_lattice(self.kind, box, self.shape, inside, self.margin)

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        """What must be read to produce `box`, of an image that ends at `bounds`."""
        inside = box if bounds is None else box.clip(bounds) or box
        needed = self.lattice(inside, bounds).input_box
        return needed if bounds is None else needed.clip(bounds) or needed

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        """How far the output can reach if the image ends at `bounds`."""
        crop = self.shape.crop
        if self.border != "inward" or not (crop * 2 + 1).fits_in(bounds.size):
            return bounds
        return bounds.grow(-crop)

    def without_rim(self, chunk: BoundingBox) -> BoundingBox:
        """The part of a chunk that can be produced with the whole margin around it.

        Raises ChunkMismatch if there is none.
        """
        cut = self.shape.crop + self.margin
        if not (cut * 2 + 1).fits_in(chunk.size):
            raise ChunkMismatch(
                f"cutting {list(cut)} voxels from each side of {list(chunk.size)} leaves nothing: "
                "give a larger chunk"
                + (", or mask_output_chunk to keep its rim" if any(self.margin) else "")
            )
        return chunk.grow(-cut)

    def cut(self, chunk: Chunk, box: BoundingBox) -> tuple[NDArray[Any], Lattice]:
        """The image that the patches of `box` read, czyx, and where they lie.

        The image is cut from the chunk, and extended if the patches read over the border.
        Raises ChunkMismatch if the chunk has no voxel that they read; see also `make_lattice`.
        """
        import numpy as np

        lattice = self.lattice(box, chunk.bounds or chunk.bbox)
        if not chunk.bbox.contains(lattice.input_box):
            # The chunk has less context than the volume. Its edge then counts as the border.
            lattice = self.lattice(box, chunk.bbox)
        needed = lattice.input_box
        available = needed.clip(chunk.bbox)
        if available is None:
            raise ChunkMismatch(
                f"chunk {chunk.bbox} has no voxel of {needed}, which the patches read"
            )
        image = chunk.cutout(available).czyx
        if available == needed:
            return image, lattice
        before, after = available.start - needed.start, needed.stop - available.stop
        widths = [(0, 0), *zip(before, after, strict=True)]
        mode: Literal["reflect", "constant"] = "reflect" if self.border == "reflect" else "constant"
        return np.pad(image, widths, mode=mode), lattice
