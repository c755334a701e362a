"""`Chunk`: an array of voxels with its position, its voxel size and its meaning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.conversion import Scale, Tally, convert, convert_ids
from chunkflow_worker.image.labels import looks_labelled

LayerType = Literal["image", "segmentation"]
VoxelSize = tuple[float, float, float]
UNKNOWN_SIZE: VoxelSize = (1.0, 1.0, 1.0)  # stands for a voxel size that no file gives
_ORIGIN = Vec3(0, 0, 0)
_SEGMENT_FIRST = "; make a mask of an image first, with a threshold, or segment it"


@dataclass(frozen=True, eq=False)
class Chunk:
    """Voxels at a global position.

    array: shape zyx, or czyx with channels first; any dtype.
    voxel_offset: global position of the first voxel, zyx.
    voxel_size: edge lengths of a voxel in nanometres, zyx; UNKNOWN_SIZE when it is not known.
    layer_type: the meaning of the values; those of a segmentation are object ids.
    is_image: the user says that integers of 32 or 64 bits are values of an image.
    bounds: the whole volume that the chunk was cut from; None when it is not known. Where a face of
        the chunk lies on a face of the bounds, the image ends.
    Raises ChunkMismatch for other numbers of axes.
    """

    array: NDArray[Any]
    voxel_offset: Vec3 = _ORIGIN
    voxel_size: VoxelSize = UNKNOWN_SIZE
    layer_type: LayerType = "image"
    bounds: BoundingBox | None = None
    is_image: bool = False

    def __post_init__(self) -> None:
        axes = self.array.ndim
        if axes not in (3, 4):
            raise ChunkMismatch(
                f"a chunk has 3 axes (zyx) or 4 (czyx), not {axes}: shape {self.array.shape}"
            )

    @property
    def bbox(self) -> BoundingBox:
        """The box that the chunk covers."""
        return BoundingBox.sized(self.voxel_offset, self.array.shape[-3:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def channels(self) -> int:
        """Number of channels; 1 for an array without a channel axis."""
        return self.array.shape[0] if self.array.ndim == 4 else 1

    @property
    def is_segmentation(self) -> bool:
        """Whether the values are object ids.

        They are when the layer type says so, and when they are integers of 32 or 64 bits: many
        files call these an image, so only the user's own word counts, see `is_image`.
        """
        wide_integers = self.dtype.kind in "ui" and self.dtype.itemsize >= 4
        return self.layer_type == "segmentation" or (wide_integers and not self.is_image)

    @property
    def if_image(self) -> str:
        """The end of an error about ids: the cure, if only their type makes them ids."""
        if self.layer_type == "segmentation":
            return ""
        return "; if these are values of an image, load them with --layer-type image"

    @property
    def is_mask(self) -> bool:
        """Whether the values are 0 and one other, or only one. An image has more of them."""
        if self.dtype == bool or not self.array.size:
            return True
        low, high = self.array.min(), self.array.max()
        return bool(low == high or (low == 0 and ((self.array == 0) | (self.array == high)).all()))

    @property
    def holds_objects(self) -> bool:
        """Whether the values are object ids or a mask of whole numbers, and no grey values.

        Many files of labels of 8 or 16 bits do not say what they are, so their values decide.
        """
        if self.dtype.kind not in "bui":
            return False
        narrow = self.dtype.itemsize <= 2
        return self.is_segmentation or self.is_mask or (narrow and looks_labelled(self.array))

    @property
    def czyx(self) -> NDArray[Any]:
        """The array with a channel axis, as a view."""
        return self.array if self.array.ndim == 4 else self.array[np.newaxis]

    def object_ids(self, name: str) -> NDArray[Any]:
        """The object ids of a segmentation or a mask, zyx, as a view; booleans become uint8.

        name: of the chunk, for the error.
        Raises ChunkMismatch unless the chunk holds integers or booleans in one channel, and for an
        image: its grey values are no objects.
        """
        if self.dtype.kind not in "bui" or self.channels != 1:
            actual = f"{self.dtype} of {self.channels} channels"
            raise ChunkMismatch(
                f"{name!r} is {actual}, and a segmentation is needed: whole numbers in one channel"
                f"{_SEGMENT_FIRST if self.channels == 1 else ''}"
            )
        if not self.holds_objects:
            raise ChunkMismatch(
                f"{name!r} is an image: {self.dtype}, values from {self.array.min()} to "
                f"{self.array.max()}. If these are object ids, load it with --layer-type "
                f"segmentation{_SEGMENT_FIRST}"
            )
        ids: NDArray[Any] = self.array if self.array.ndim == 3 else self.array[0]
        return ids.view("uint8") if ids.dtype == bool else ids

    def with_array(self, array: NDArray[Any], **changes: Any) -> Chunk:
        """A chunk at the same position with another array, and other `changes` of its fields."""
        return replace(self, array=array, **changes)

    def cutout(self, bbox: BoundingBox) -> Chunk:
        """The voxels inside `bbox`, as a view.

        Raises ChunkMismatch when the chunk does not cover the box.
        """
        if not self.bbox.contains(bbox):
            raise ChunkMismatch(f"chunk {self.bbox} does not cover the box {bbox}")
        window = (Ellipsis, *bbox.slices(self.voxel_offset))
        return replace(self, array=self.array[window], voxel_offset=bbox.start)

    def as_dtype(
        self, dtype: DTypeLike, scale: Scale | None = None, tally: Tally | None = None
    ) -> Chunk:
        """The chunk with its values as `dtype`: `convert_ids` for ids, `convert` for an image.

        What was made of ids is a segmentation, whatever its type.
        Raises ChunkMismatch if the type does not hold each id, and for ids with a scale.
        """
        if not self.is_segmentation:
            return self.with_array(convert(self.array, dtype, scale, tally))
        try:
            if scale is not None:
                raise ChunkMismatch("ids of a segmentation can't be scaled")
            ids = convert_ids(self.array, dtype)
        except ChunkMismatch as error:
            raise ChunkMismatch(f"{error}{self.if_image}") from None
        return self if ids is self.array else self.with_array(ids, layer_type="segmentation")
