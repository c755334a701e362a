"""Coarser versions of a chunk: the mean of an image's voxels, the most frequent id of a segmentation's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk, VoxelSize

_Pool = Callable[[list[NDArray[Any]]], NDArray[Any]]


def coarser(chunk: Chunk, factor: Vec3) -> Chunk:
    """`chunk` with voxels `factor` times as large. A coarse voxel i covers the voxels from i * factor to (i + 1) * factor.

    A segmentation, and any integers of 32 bits or more, take the most frequent id, of several the first in zyx order. Other
    values are averaged; integers round to the nearest, halves to the even one. Where the image ends, a coarse voxel is made
    of those voxels that are there. Shape and bounds shrink with it, dtype and channels stay.

    Raises ChunkMismatch when the chunk's edge cuts a coarse voxel inside the image, or when a segmentation holds fractions.
    """
    _refuse_cut(chunk, factor)
    box = chunk.bbox.coarse(factor)
    array = np.empty((chunk.channels, *box.size), chunk.dtype)
    pool = most_frequent if _holds_ids(chunk) else mean
    for parts in product(*map(_parts, chunk.bbox.start, chunk.bbox.stop, factor)):
        source, target = (
            tuple(slices) for slices in zip(*((p.fine, p.coarse) for p in parts), strict=True)
        )
        array[(..., *target)] = pool(
            _strided(chunk.czyx[(..., *source)], Vec3(*(p.step for p in parts)))
        )
    z, y, x = (size * n for size, n in zip(chunk.voxel_size, factor, strict=True))
    voxel_size: VoxelSize = (z, y, x)
    return Chunk(
        array if chunk.array.ndim == 4 else array[0],
        box.start,
        voxel_size,
        chunk.layer_type,
        None if chunk.bounds is None else chunk.bounds.coarse(factor),
    )


def mean(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Voxel by voxel the mean of arrays of one shape and type."""
    dtype = parts[0].dtype
    exact = (
        np.float32
        if dtype.itemsize == 1 or dtype == np.float16
        else np.float64
        if dtype.kind in "ui"
        else dtype
    )
    total = parts[0].astype(exact)
    for part in parts[1:]:
        total += part
    total /= len(parts)
    return (np.rint(total, out=total) if dtype.kind in "ui" else total).astype(dtype, copy=False)


def most_frequent(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Voxel by voxel the value that most of the arrays have, of several the first."""
    result = parts[0].copy()
    mixed = np.zeros(result.shape, bool)
    for part in parts[1:]:
        mixed |= part != result
    values = np.stack([part[mixed] for part in parts])  # objects are large: few voxels are mixed
    best, most = values[0], np.zeros(values.shape[1], int)
    for i, value in enumerate(values):
        count = np.count_nonzero(values[i:] == value, axis=0)
        best = np.where(count > most, value, best)
        np.maximum(most, count, out=most)
    result[mixed] = best
    return result


def _holds_ids(chunk: Chunk) -> bool:
    if chunk.layer_type == "segmentation" and chunk.dtype.kind not in "bui":
        raise ChunkMismatch(f"a segmentation holds whole numbers, and this one is {chunk.dtype}")
    return chunk.is_segmentation or chunk.dtype == bool


def _refuse_cut(chunk: Chunk, factor: Vec3) -> None:
    bounds = chunk.bounds or chunk.bbox
    whole = chunk.bbox.coarse(factor).scaled(factor).clip(bounds)
    if whole != chunk.bbox:
        raise ChunkMismatch(
            f"chunk {chunk.bbox} cuts voxels that are {list(factor)} times as large: away from the image's border, it must start "
            f"and stop at multiples of {list(factor)}, for example {whole}"
        )


class _Part(NamedTuple):
    """A part of an axis where every coarse voxel has `step` fine ones, as slices of the chunk's array and of the coarse one."""

    fine: slice
    coarse: slice
    step: int


def _parts(start: int, stop: int, factor: int) -> Iterator[_Part]:
    """The incomplete coarse voxel at the start of an axis, the whole ones, and the incomplete one at its end, if there are."""
    first, last = -(-start // factor) * factor, stop // factor * factor
    edges = sorted({start, min(first, stop), max(last, start), stop})
    for low, high in pairwise(edges):
        coarse = slice(low // factor - start // factor, -(-high // factor) - start // factor)
        yield _Part(slice(low - start, high - start), coarse, min(factor, high - low))


def _strided(czyx: NDArray[Any], step: Vec3) -> list[NDArray[Any]]:
    return [
        czyx[:, z :: step.z, y :: step.y, x :: step.x] for z, y, x in product(*map(range, step))
    ]
