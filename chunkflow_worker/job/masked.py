"""`masked`: leaves out the boxes of a job where a mask is zero."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.ledger import RECORD_BYTES
from chunkflow_worker.job.masks import Masks

if TYPE_CHECKING:
    from chunkflow_worker.volumes.volume import Volume

_MOST_VOXELS = 1 << 25  # of the mask that are in memory
_MOST_TEXT = RECORD_BYTES // 4 * 3


def masked(boxes: Boxes, grid: Grid, options: Masks, *, use_https: bool = False) -> Boxes:
    """The boxes that the options leave.

    use_https: read volumes through public https links.
    Raises ConfigError for a volume that is wrong or absent, and when no box is left. Raises
    StorageUnavailable.
    """
    volumes = list(_masks(grid, options, use_https))
    if not volumes:
        return boxes
    voxel_size = volumes[0][0]
    chosen = np.ones(len(boxes), bool)
    for _, volume, inverse in volumes:
        try:
            chosen &= _touched(boxes, volume, voxel_size, inverse)
        except ChunkMismatch as error:
            cure = "give --mask-mip, or a mask with coarser voxels and one channel"
            raise ConfigError.one("the mask", volume.path, str(error), cure) from None
    if not chosen.any():
        problem = f"all {len(boxes)} boxes are empty: {' and '.join(v.path for _, v, _ in volumes)}"
        raise ConfigError.one(
            "the mask", "boxes", problem, "check the mask, its mip and the region"
        )
    return ChosenBoxes.of(boxes, chosen)


def marks_of(boxes: Boxes) -> str:
    """The text for a job's record that tells which boxes of its grid are in these; empty for all.

    Raises ConfigError when it is too long for a record.
    """
    if not isinstance(boxes, ChosenBoxes):
        return ""
    text = boxes.text()
    if len(text) > _MOST_TEXT:
        problem = f"has too many boxes for a mask: their marks take {len(text):,} bytes"
        cure = f"send it in parts of {(boxes.last - boxes.first) // 4:,} boxes as jobs of their own"
        raise ConfigError.one("the mask", "grid", problem, f"{cure}, or give a larger --chunk-size")
    return text


def _masks(grid: Grid, options: Masks, use_https: bool) -> Iterator[tuple[Any, Volume, bool]]:
    """The masks, each with the size of the voxels of the boxes, and whether it is inverse."""
    from chunkflow_worker.volumes.levels import levels_of
    from chunkflow_worker.volumes.open_volume import open_volume

    if options.mask_volume_path is None and not options.skip_empty:
        return
    if not grid.volume_path:
        problem = "is not given: only it tells the size of the voxels that the boxes are in"
        raise ConfigError.one("grid", "volume_path", problem, "give --volume-path and --mip")
    opened = partial(open_volume, use_https=use_https)
    voxel_size = opened(grid.volume_path, grid.mip or 0).voxel_size
    if options.mask_volume_path is not None:
        mask = opened(options.mask_volume_path, options.mask_mip, fill_missing=True)
        yield voxel_size, mask, options.mask_inverse
    if options.skip_empty:
        coarsest = levels_of(grid.volume_path, Vec3(1, 1, 1), 0).count - 1
        mip = max(coarsest, grid.mip or 0)
        yield voxel_size, opened(grid.volume_path, mip, fill_missing=True), False


def _touched(boxes: Boxes, volume: Volume, voxel_size: Any, inverse: bool) -> NDArray[np.bool_]:
    """Whether the mask is set at any voxel of each box. Reads it row by row of boxes."""
    from chunkflow_worker.volumes.mask import CoarseMask

    result = np.zeros(boxes.grid_size.product, bool).reshape(boxes.grid_size)
    for part in _parts(boxes, volume, voxel_size):
        places = [range(axis.start, axis.stop) for axis in part]
        starts, stops = _edges(boxes, places)
        whole = BoundingBox(Vec3(*(s[0] for s in starts)), Vec3(*(s[-1] for s in stops)))
        mask = CoarseMask.read(volume, whole, voxel_size, inverse)
        result[part] = mask.any_in_grid(starts, stops)
    return result.reshape(-1)[boxes.first : boxes.last]


def _edges(boxes: Boxes, places: list[range]) -> tuple[list[list[int]], list[list[int]]]:
    """Where the boxes at these places of each axis start and stop."""
    starts, stops = [], []
    for axis, (place, size) in enumerate(zip(places, boxes.chunk_size, strict=True)):
        begins = [boxes.start[axis] + n * size for n in place]
        cut = begins[-1] + size if boxes.stop is None else boxes.stop[axis]
        starts.append(begins)
        stops.append([min(begin + size, cut) for begin in begins])
    return starts, stops


def _parts(boxes: Boxes, volume: Volume, voxel_size: Any) -> Iterator[tuple[slice, slice, slice]]:
    """Parts of the grid whose mask fits in memory: as long as possible along x, then y."""
    sizes = zip(boxes.chunk_size, voxel_size, volume.voxel_size, strict=True)
    voxels = [size * fine / coarse + 2 for size, fine, coarse in sizes]  # of the mask, in a box
    left, steps = _MOST_VOXELS / (voxels[0] * voxels[1] * voxels[2]), list[int]()
    for count in reversed(boxes.grid_size):
        steps.insert(0, int(min(count, max(1, left))))
        left /= steps[0]
    (dz, dy, dx), (z_stop, y_stop, x_stop) = steps, boxes.grid_size
    plane = y_stop * x_stop
    for z in range(boxes.first // plane, -(-boxes.last // plane), dz):
        for y in range(0, y_stop, dy):
            for x in range(0, x_stop, dx):
                yield (
                    slice(z, min(z + dz, z_stop)),
                    slice(y, min(y + dy, y_stop)),
                    slice(x, min(x + dx, x_stop)),
                )
