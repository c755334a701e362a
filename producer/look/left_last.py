"""`left_last`: which blocks of a volume still are what each write of one task left there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Written
    from chunkflow_worker.volumes.volume import Blocks

_MOST_BLOCKS = 1_000_000  # of one record in one volume


@dataclass(frozen=True, eq=False)
class Part:
    """What one write of a task left in a volume, without what a later write replaced.

    box: of `written`, inside the volume.
    blocks: with their places in the order of the blocks of `box`.
    is_whole: all blocks of `box` are left.
    """

    written: Written
    box: BoundingBox
    blocks: dict[BoundingBox, int]
    is_whole: bool = True


class RecordMismatch(ValueError):
    """What a record says of a volume does not fit the volume."""


def left_last(volume: Blocks, writes: Sequence[Written]) -> list[Part]:
    """The parts of a volume that a task left, by the writes that left them.

    The last write of a block counts. A step that wrote nothing replaced nothing.
    Raises RecordMismatch.
    """
    from chunkflow_worker.volumes.volume import blocks_of

    boxes = [(written, _inside(volume, written)) for written in writes]
    counts = [_count(volume, box) if box else 0 for _, box in boxes]
    if sum(counts) > _MOST_BLOCKS:
        raise RecordMismatch(f"its record names more than {_MOST_BLOCKS:,} blocks")
    owners: dict[BoundingBox, int] = {}
    blocks: list[dict[BoundingBox, int]] = [{} for _ in writes]
    for n, ((written, box), count) in enumerate(zip(boxes, counts, strict=True)):
        if written.blocks and len(written.blocks.split()) != count:
            raise RecordMismatch(f"its record is of other blocks than those of {box} today")
        for place, block in enumerate(blocks_of(volume, box) if box else ()):
            if written.empty and block in owners:
                continue
            if block in owners:
                del blocks[owners[block]][block]
            owners[block], blocks[n][block] = n, place
    return [
        Part(written, box, left, len(left) == count)
        for (written, box), left, count in zip(boxes, blocks, counts, strict=True)
        if box is not None and left
    ]


def _count(volume: Blocks, box: BoundingBox) -> int:
    """The number of blocks that the box touches."""
    first, size = volume.bounds.start, volume.block_size
    low, high = (box.start - first) // size, -(-(box.stop - first) // size)
    return prod(high - low)


def _inside(volume: Blocks, written: Written) -> BoundingBox | None:
    """The box of a write inside the volume; None if nothing was written outside of it."""
    try:
        box = BoundingBox.parse(written.bbox)
    except ValueError as error:
        raise RecordMismatch(f"its record can't be read: {error}") from None
    inside = box.clip(volume.bounds)
    if not written.empty and inside != box:
        raise RecordMismatch(f"its record says {box}, and {volume.path} is {volume.bounds}")
    return inside
