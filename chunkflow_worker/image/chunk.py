"""`Chunk`: an array of voxels with its position, its voxel size and its meaning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3

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
    bounds: the whole volume that the chunk was cut from; None when it is not known. Where a face of
        the chunk lies on a face of the bounds, the image ends.
    Raises ChunkMismatch for other numbers of axes.
    """

    array: NDArray[Any]
    voxel_offset: Vec3 = _ORIGIN
    voxel_size: VoxelSize = UNKNOWN_SIZE
    layer_type: LayerType = "image"
    bounds: BoundingBox | None = None

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

        They are when the layer type says so, and when they are integers of 32 or 64 bits, which
        images do not have.
        """
        wide_integers = self.dtype.kind in "ui" and self.dtype.itemsize >= 4
        return self.layer_type == "segmentation" or wide_integers

    @property
    def is_mask(self) -> bool:
        """Whether the values are 0 and one other, or only one. An image has more of them."""
        if self.dtype == bool or not self.array.size:
            return True
        low, high = self.array.min(), self.array.max()
        return bool(low == high or (low == 0 and ((self.array == 0) | (self.array == high)).all()))

    @property
    def holds_objects(self) -> bool:
        """Whether the values are object ids or a mask of whole numbers, and no grey values."""
        return self.dtype.kind in "bui" and (self.is_segmentation or self.is_mask)

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

    def as_dtype(self, dtype: DTypeLike) -> Chunk:
        """The chunk with its values as `dtype`; see `convert`."""
        return self.with_array(convert(self.array, dtype))


def convert(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """`array` as `dtype`, of the same shape; values out of range become the nearest legal one.

    Floats to uint8 map [0, 1] to [0, 255], as readers of probability maps expect, and uint8 to
    floats maps back. Floats to other integers round to the nearest. NaN becomes 0 in integers.
    """
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.dtype == np.float16 and target.kind in "ui":
        array = array.astype(np.float32)  # large integers are infinite in float16
    if target.kind in "ui" and array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an overflow to infinity saturates below
            scaled_up = array * array.dtype.type(255) if target == np.uint8 else array
        return _round_and_saturate(scaled_up, target)
    if target.kind in "ui" and array.dtype.kind in "ui":
        source_limits, target_limits = np.iinfo(array.dtype), np.iinfo(target)
        low = max(source_limits.min, target_limits.min)
        high = min(source_limits.max, target_limits.max)
        clipped: NDArray[Any] = np.clip(array, low, high).astype(target)
        return clipped
    if target.kind == "f" and array.dtype == np.uint8:
        scaled: NDArray[Any] = array.astype(target) / target.type(255)
        return scaled
    if target == np.float16 and array.dtype.kind == "f":
        array = np.clip(array, np.finfo(target).min, np.finfo(target).max)
    return array.astype(target)


def count_nan(array: NDArray[Any]) -> int:
    """Number of values that are NaN."""
    return int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0


def _round_and_saturate(array: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    limits = np.iinfo(target)
    rounded: NDArray[Any] = np.rint(array)
    rounded[np.isnan(rounded)] = 0
    if int(rounded.dtype.type(limits.max)) == limits.max:
        np.clip(rounded, limits.min, limits.max, out=rounded)
        return rounded.astype(target)
    # The float type cannot hold the largest integer: cast the values that fit, then set the others.
    above, below = rounded >= float(limits.max), rounded < float(limits.min)
    rounded[above | below] = 0
    result: NDArray[Any] = rounded.astype(target)
    result[above], result[below] = limits.max, limits.min
    return result
