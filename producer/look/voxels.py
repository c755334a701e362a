"""`look_at_voxels` compares a part of a volume with its checksums; `look_for_leftovers` finds what
was left where a task wrote nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from producer.look.absent import Absent
from producer.look.findings import Findings
from producer.look.left_last import Part
from producer.look.problem import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_READ = 8 << 30  # bytes
_UNCHANGED = "as the task wrote them"
_CHANGED = "other voxels than the task wrote"
_CHANGED_BYTES = "other bytes than the task wrote"
_SOME_CHANGED = "other voxels than the task wrote, in some of them"
_LEFTOVER = (
    "the task left nothing here, so an earlier run wrote them: delete them, since doing the box "
    "again does not"
)


def look_at_voxels(
    findings: Findings,
    part: Part,
    absent: Absent,
    has_input: Callable[[BoundingBox], bool],
    allow_zeros: bool,
) -> tuple[list[BoundingBox], list[BoundingBox]]:
    """Read the blocks of a part, and find those that are not right.

    Returns those that were compared with the record, and those that it has no checksum for.

    has_input: whether the job's input has values in the place of a block.
    allow_zeros: zeros are right that the task itself wrote.
    """

    def read(block: BoundingBox) -> NDArray[Any]:
        try:
            return findings.volume.read(block)
        except DataMissing:
            return absent.read(block)

    arrays = _read(findings, part, part.blocks, read)
    same = _compare(findings, part, arrays)
    may_be_zero = findings.volume.layer_type != "image"
    changed = []
    is_bad = False
    for block, array in arrays.items():
        is_same = same.get(block)
        kind: Kind | None = None
        if array.any():
            kind = "nan" if _has_nan(array) else None
        elif not (may_be_zero or (allow_zeros and is_same)) and has_input(block):
            kind = "zero"
        if kind:
            is_bad = True
            findings.add(kind, block, _UNCHANGED if is_same else "")
        elif is_same is False:
            changed.append(block)
    by_block = bool(part.written.blocks)
    if by_block or not is_bad:  # bad blocks explain why the whole box has changed
        detail = _CHANGED_BYTES if part.written.of_bytes else _CHANGED
        for block in changed:
            findings.add("stale", block, detail if by_block else _SOME_CHANGED)
    unknown = [] if by_block else [block for block in arrays if block not in same]
    return list(same), unknown


def look_for_leftovers(findings: Findings, part: Part) -> list[BoundingBox]:
    """Read the blocks of a part where the task wrote nothing.

    Returns those that are empty: of zeros, or of the fill value.

    The volume of the findings gives zeros, or the fill value, for absent blocks.
    """
    boxes = {inside: block for block in part.blocks if (inside := block.clip(part.box))}
    empty = []
    volume = findings.volume
    for box, array in _read(findings, part, boxes, volume.read).items():
        if array.any() and not _is_all(array, volume.fill_value):
            findings.add("stale", boxes[box], _LEFTOVER)
        else:
            empty.append(boxes[box])
    return empty


def _read(
    findings: Findings,
    part: Part,
    boxes: Iterable[BoundingBox],
    read_one: Callable[[BoundingBox], NDArray[Any]],
) -> dict[BoundingBox, NDArray[Any]]:
    """The voxels of boxes inside the part, by box. read_one: reads one of them alone."""
    volume, boxes = findings.volume, list(boxes)

    def read_all() -> list[tuple[BoundingBox, NDArray[Any]]]:
        voxels = volume.read(part.box)
        return [(box, voxels[(..., *box.slices(part.box.start))]) for box in boxes]

    size = part.box.voxels * volume.channels * volume.dtype.itemsize
    together = read_all if part.is_whole and size <= _LARGEST_READ else None
    return dict(findings.readable(boxes, together, read_one))


def _compare(
    findings: Findings, part: Part, arrays: dict[BoundingBox, NDArray[Any]]
) -> dict[BoundingBox, bool]:
    """Whether each block is what the task wrote, as far as the record tells."""
    from chunkflow_worker.volumes.volume import checksum

    written, volume = part.written, findings.volume
    if not written.blocks:
        return _compare_whole(part, arrays) if written.crc32 else {}
    sums = written.blocks.split()
    if not written.of_bytes:
        return {block: checksum(a) == sums[part.blocks[block]] for block, a in arrays.items()}
    blocks = list(arrays)
    found = findings.readable(
        blocks,
        lambda: list(zip(blocks, volume.checksums(blocks), strict=True)),
        lambda block: volume.checksums([block])[0],
    )
    return {block: one == sums[part.blocks[block]] for block, one in found}


def _compare_whole(part: Part, arrays: dict[BoundingBox, NDArray[Any]]) -> dict[BoundingBox, bool]:
    """The same by one checksum of the whole box."""
    import numpy as np

    from chunkflow_worker.volumes.volume import checksum

    if not part.is_whole or len(arrays) < len(part.blocks):
        return {}
    first = next(iter(arrays.values()))
    voxels = np.empty((*first.shape[:-3], *part.box.size), first.dtype)
    for block, array in arrays.items():
        voxels[(..., *block.slices(part.box.start))] = array
    return dict.fromkeys(arrays, checksum(voxels) == part.written.crc32)


def _is_all(array: NDArray[Any], value: Any) -> bool:
    import numpy as np

    return value is not None and np.array_equal(array, np.full_like(array, value), equal_nan=True)


def _has_nan(array: NDArray[Any]) -> bool:
    from chunkflow_worker.image.conversion import count_nan

    return count_nan(array) > 0
