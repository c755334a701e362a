"""`Alignment`: whether boxes fit the blocks of volumes, and the nearest sizes that do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chunkflow_worker.errors import BoxNotAligned
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.output import output_blocks, output_levels
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.volumes.volume import Blocks, check_aligned


@dataclass(frozen=True)
class Alignment:
    """How boxes lie on the blocks of a level. Sizes are zyx, in voxels of the boxes.

    use: input or output. unit: the block, or the shard of an output.
    is_aligned: boxes consist of whole ones. nearest: chunk sizes of whole blocks of all outputs;
    empty where the present one is such a size.
    """

    path: str
    use: str
    unit: Vec3
    is_aligned: bool
    nearest: tuple[Vec3, ...]


def output_alignment(boxes: Boxes, chain: list[Configured]) -> Iterator[Alignment]:
    """Of each level that the boxes are written to."""
    unit = output_blocks(chain)
    nearest = nearest_sizes(boxes.chunk_size, unit)
    for factor, level in output_levels(chain):
        fits = all(_fits(level, box, factor) for box in _ends(boxes))
        yield Alignment(level.path, "output", level.block_size * factor, fits, nearest)


def input_alignment(boxes: Boxes, path: str, bounds: BoundingBox, block: Vec3) -> Alignment:
    """Of a level that the boxes are read from; margins are left out."""
    offset = (boxes.start - bounds.start) % block
    ends_with_image = all(n <= m for n, m in zip(bounds.size, boxes.chunk_size, strict=True))
    fits = not any(offset) and (not any(boxes.chunk_size % block) or ends_with_image)
    return Alignment(path, "input", block, fits, ())


def nearest_sizes(size: Vec3, unit: Vec3) -> tuple[Vec3, ...]:
    """The multiples of a unit next to a size: the smaller and the larger one; none for itself."""
    if not any(size % unit):
        return ()
    below = (size // unit).max(Vec3(1, 1, 1)) * unit
    above = -(-size // unit) * unit
    return tuple(dict.fromkeys((below, above)))


def _ends(boxes: Boxes) -> Iterable[BoundingBox]:
    return boxes[0], boxes[len(boxes) // 2], boxes[-1]


def _fits(level: Blocks, box: BoundingBox, factor: Vec3) -> bool:
    inside = box.downsample(factor).clip(level.bounds)
    try:
        if inside is not None:
            check_aligned(level, inside)
    except BoxNotAligned:
        return False
    return True
