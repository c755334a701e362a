"""Writing a task's chunk to a volume: which part of it, and so that it can be verified later."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, StorageUnavailable
from chunkflow_worker.image.chunk import UNKNOWN_SIZE, Chunk, convert, count_nan
from chunkflow_worker.job.ledger import Written
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.volume import Volume, checksum

if TYPE_CHECKING:
    from chunkflow_worker.storage.precomputed import PrecomputedVolume


def inside(chunk: Chunk, volume: Volume, task: Task) -> Chunk:
    """The part of a chunk inside the volume.

    Raises BoxOutsideVolume when there is none, and ChunkMismatch when it lacks a part of the task's box.
    """
    box = chunk.bbox.clip(volume.bounds)
    if box is None:
        raise BoxOutsideVolume(
            f"chunk {chunk.bbox} lies outside {volume.path}, which is {volume.bounds}"
        )
    asked = task.known_box_of(chunk)
    asked = asked.clip(volume.bounds) if asked else None
    if asked is not None and not box.contains(asked):
        raise ChunkMismatch(
            f"the chunk covers {box} of the task's {asked} in {volume.path}, and would leave a hole: "
            "the output volume must not be larger than what the chain produces"
        )
    return chunk.cutout(box)


def refuse_other_voxels(chunk: Chunk, volume: Volume) -> None:
    """Raises ChunkMismatch when the volume's voxels are of another size than the chunk's, where that is known."""
    same = (
        isclose(a, b, rel_tol=1e-3)
        for a, b in zip(chunk.voxel_size, volume.voxel_size, strict=True)
    )
    if chunk.voxel_size != UNKNOWN_SIZE and not all(same):
        raise ChunkMismatch(
            f"the chunk has voxels of {list(chunk.voxel_size)} nm, and those of {volume.path} are of "
            f"{list(volume.voxel_size)} nm: write to the mip, or make a volume, that has the chunk's"
        )


def write_verified(chunk: Chunk, volume: PrecomputedVolume, task: Task) -> None:
    """Write whole blocks in the volume's type, look that they are there, and note them in the task.

    Raises BoxNotAligned, ChunkMismatch and StorageUnavailable.
    """
    array = convert(chunk.array, volume.dtype)
    volume.write(chunk.bbox, array)
    refuse_absent(volume, chunk)
    task.bytes_written += array.nbytes
    nan = count_nan(chunk.array) if array.dtype.kind != "f" else 0
    task.written.append(
        Written(
            volume.path,
            volume.mip,
            str(chunk.bbox),
            checksum(array) if volume.lossless else "",
            nan,
        )
    )


def refuse_absent(volume: Volume, chunk: Chunk) -> None:
    """Raises StorageUnavailable when blocks that were just written are not there."""
    missing = volume.missing(chunk.bbox)
    if missing:
        raise StorageUnavailable(
            f"{volume.path}: {len(missing)} blocks are absent after writing: {missing[0]}"
        )
