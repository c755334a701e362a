"""Downsampling: the mean of an image's voxels, the most frequent id of a segmentation's voxels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk, VoxelSize
from chunkflow_worker.image.conversion import saturate


def downsample(chunk: Chunk, factor: Vec3) -> Chunk:
    """`chunk` with voxels `factor` times as large; its dtype and number of channels stay.

    A coarse voxel i covers the fine voxels from i * factor to (i + 1) * factor. Where the image
    ends, a coarse voxel is made of the fine voxels that exist.

    A segmentation, and any integers of 32 bits or more, take the most frequent id; of equally
    frequent ids the first one in zyx order. Other values are averaged, and integers round to the
    nearest, halves to the even one.

    Raises ChunkMismatch when a face of the chunk cuts a coarse voxel inside the image, and when a
    segmentation does not hold integers.
    """
    _check_edges(chunk, factor)
    box = chunk.bbox.downsample(factor)
    array = np.empty((chunk.channels, *box.size), chunk.dtype)
    pool = most_frequent if _holds_ids(chunk) else mean
    axes = map(_segments, chunk.bbox.start, chunk.bbox.stop, factor)
    for segments in product(*axes):
        fine: tuple[Any, ...] = (..., *(segment.fine for segment in segments))
        coarse: tuple[Any, ...] = (..., *(segment.coarse for segment in segments))
        steps = Vec3(*(segment.step for segment in segments))
        array[coarse] = pool(_strided(chunk.czyx[fine], steps))
    z, y, x = (size * n for size, n in zip(chunk.voxel_size, factor, strict=True))
    voxel_size: VoxelSize = (z, y, x)
    return Chunk(
        array if chunk.array.ndim == 4 else array[0],
        box.start,
        voxel_size,
        chunk.layer_type,
        None if chunk.bounds is None else chunk.bounds.downsample(factor),
        chunk.is_image,
    )


def mean(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """The mean of arrays of one shape and dtype, voxel by voxel, in that dtype."""
    dtype = arrays[0].dtype
    total = arrays[0].astype(_type_for_sums(dtype))
    for array in arrays[1:]:
        total += array
    total /= len(arrays)
    if dtype.itemsize == 8 and dtype.kind in "ui":
        return saturate(total, dtype)  # the largest number becomes a float that is larger
    if dtype.kind in "ui":
        np.rint(total, out=total)
    return total.astype(dtype, copy=False)


def _type_for_sums(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A float type that holds a sum of a few values of `dtype` exactly enough for their mean."""
    if dtype.itemsize == 1 or dtype == np.float16:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.kind in "ui" else dtype


def most_frequent(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """The most frequent value of arrays of one shape and dtype, voxel by voxel.

    Of equally frequent values the one that comes first in the list.
    """
    result = arrays[0].copy()
    differs = np.zeros(result.shape, bool)
    for array in arrays[1:]:
        differs |= array != result
    # Objects are large, so only few voxels have different values to count.
    candidates = np.stack([array[differs] for array in arrays])
    best, highest = candidates[0], np.zeros(candidates.shape[1], int)
    for i, candidate in enumerate(candidates):
        count = np.count_nonzero(candidates[i:] == candidate, axis=0)
        best = np.where(count > highest, candidate, best)
        np.maximum(highest, count, out=highest)
    result[differs] = best
    return result


def _holds_ids(chunk: Chunk) -> bool:
    if chunk.layer_type == "segmentation" and chunk.dtype.kind not in "bui":
        raise ChunkMismatch(f"a segmentation holds whole numbers, and this one is {chunk.dtype}")
    return chunk.is_segmentation or chunk.dtype == bool


def _check_edges(chunk: Chunk, factor: Vec3) -> None:
    whole = chunk.bbox.downsample(factor).upsample(factor).clip(chunk.bounds or chunk.bbox)
    if whole != chunk.bbox:
        multiples = f"multiples of {list(factor)}"
        raise ChunkMismatch(
            f"chunk {chunk.bbox} cuts voxels that are {list(factor)} times as large: except at the "
            f"image's border, it must start and stop at {multiples}, for example {whole}"
        )


class _Segment(NamedTuple):
    """A segment of one axis in which every coarse voxel covers `step` fine voxels.

    fine, coarse: its slices of the fine and of the coarse array.
    """

    fine: slice
    coarse: slice
    step: int


def _segments(start: int, stop: int, factor: int) -> Iterator[_Segment]:
    """Segments of the axis from `start` to `stop`.

    They are an incomplete coarse voxel at the start, the complete ones, and an incomplete one at
    the end; those that do not exist are left out.
    """
    first_whole, last_whole = -(-start // factor) * factor, stop // factor * factor
    edges = sorted({start, min(first_whole, stop), max(last_whole, start), stop})
    coarse_start = start // factor
    for low, high in pairwise(edges):
        coarse = slice(low // factor - coarse_start, -(-high // factor) - coarse_start)
        yield _Segment(slice(low - start, high - start), coarse, min(factor, high - low))


def _strided(czyx: NDArray[Any], step: Vec3) -> list[NDArray[Any]]:
    """Views of every step-th voxel: one for each position of a fine voxel in a coarse one, zyx."""
    return [
        czyx[:, z :: step.z, y :: step.y, x :: step.x] for z, y, x in product(*map(range, step))
    ]
