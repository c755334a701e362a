"""Writing a task's chunk to a volume: the part inside it, checked, and noted for the record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import UNKNOWN_SIZE, Chunk
from chunkflow_worker.image.conversion import count_nan
from chunkflow_worker.job.record import Written
from chunkflow_worker.pipeline.converter import Converter
from chunkflow_worker.pipeline.early import EarlyWrites
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.voxel_metadata import is_same_size
from chunkflow_worker.volumes.block_cache import block_cache
from chunkflow_worker.volumes.volume import Blocks, CheckedVolume, Volume, blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID_TYPES = ("uint32", "uint64")


def part_inside(chunk: Chunk, volume: Blocks, task: Task) -> Chunk:
    """The part of a chunk that is inside the volume.

    Raises BoxOutsideVolume if there is none, and ChunkMismatch if the chunk does not cover the
    task's box there.
    """
    box = chunk.bbox.clip(volume.bounds)
    if box is None:
        raise BoxOutsideVolume(
            f"chunk {chunk.bbox} is outside {volume.path}, which is {volume.bounds}"
        )
    task_box = task.known_box_of(chunk)
    task_box = task_box.clip(volume.bounds) if task_box else None
    if task_box is not None and not box.contains(task_box):
        cure = "the output volume must not be larger than what the chain produces"
        if task.device:  # a net ran
            cure = "let the net compute the border of the image too, by --border zeros or reflect"
        raise ChunkMismatch(
            f"the chunk covers {box} of the task's {task_box} in {volume.path}, and would leave a "
            f"hole: {cure}"
        )
    return chunk.cutout(box)


def check_voxel_size(chunk: Chunk, volume: Volume) -> None:
    """Raises ChunkMismatch if the voxels differ in size; a chunk may have an unknown size."""
    is_known = chunk.voxel_size != UNKNOWN_SIZE
    if is_known and not is_same_size(chunk.voxel_size, volume.voxel_size):
        raise ChunkMismatch(
            f"the chunk has voxels of {list(chunk.voxel_size)} nm, and those of {volume.path} are "
            "of "
            f"{list(volume.voxel_size)} nm: write to the mip, or make a volume, that has the "
            "chunk's"
        )


def check_kind(chunk: Chunk, volume: Volume) -> None:
    """Raises ChunkMismatch if object ids would replace the grey values of an image.

    A volume with a type for ids may hold them, whatever its info says. Signed integers without a
    layer type may be an image that somebody computed.
    """
    takes_ids = volume.layer_type == "segmentation" or volume.dtype.name in ID_TYPES
    holds_ids = chunk.layer_type == "segmentation" or chunk.dtype.name in ID_TYPES
    if holds_ids and chunk.is_segmentation and not takes_ids:
        raise ChunkMismatch(
            f"the chunk is a segmentation ({chunk.dtype}), and {volume.path} is an image "
            f"({volume.dtype}), whose values it would replace: write to a segmentation, which "
            f"{operator_with('creates')} --layer-type segmentation makes; if these are grey "
            "values, load them with --layer-type image"
        )


def as_stored(chunk: Chunk, volume: Volume, task: Task, converter: Converter) -> NDArray[Any]:
    """The values in the volume's type. A segmentation stores ids, whatever the chunk says it holds.

    Raises ChunkMismatch if the type does not hold each id.
    """
    if chunk.is_segmentation or volume.layer_type != "segmentation":
        return converter.converted(chunk, volume.dtype, task).array
    try:
        ids = chunk.with_array(chunk.array, layer_type="segmentation")
        return converter.converted(ids, volume.dtype, task).array
    except ChunkMismatch as error:
        raise ChunkMismatch(f"{volume.path} is a segmentation: {error}") from None


def write_verified(
    chunk: Chunk,
    volume: CheckedVolume,
    task: Task,
    converter: Converter,
    early: EarlyWrites | None = None,
) -> None:
    """Write whole blocks in the volume's type, check that they are stored, note them in the task.

    early: has begun to write them.
    Raises BoxNotAligned, ChunkMismatch and StorageUnavailable.
    """
    array = as_stored(chunk, volume, task, converter)
    try:
        sums = (early or volume).write(chunk.bbox, array)
    finally:  # some blocks may be new, also when it fails
        block_cache().forget(volume.path)
    blocks = list(blocks_of(volume, chunk.bbox))
    times = volume.stored_at(blocks)
    _refuse_missing(volume, sorted({*map(volume.block_name, blocks)} - {*times}))
    task.bytes_written += array.nbytes
    task.written.append(
        Written(
            volume.path,
            volume.mip,
            str(chunk.bbox),
            blocks=" ".join(sums),
            of_bytes=not volume.lossless,
            stored=first_and_last(times.values()),
            nan=count_nan(chunk.array) if array.dtype.kind != "f" else 0,
            driver=volume.driver,
            order=volume.order,
        )
    )


def note_empty(box: BoundingBox, volume: CheckedVolume, task: Task) -> None:
    """Note that a task leaves a box of a volume unwritten, since there is nothing in it."""
    task.written.append(
        Written(
            volume.path, volume.mip, str(box), empty=True, driver=volume.driver, order=volume.order
        )
    )


def first_and_last(times: Iterable[datetime | None]) -> tuple[str, ...]:
    """The first and the last time, in ISO 8601; none if a time is not known."""
    known = list(times)
    if not known or None in known:
        return ()
    found = sorted(time for time in known if time is not None)
    return found[0].isoformat(), found[-1].isoformat()


def _refuse_missing(volume: Volume, missing: list[str]) -> None:
    if missing:
        raise StorageUnavailable(
            f"{volume.path}: {len(missing)} blocks are missing after writing: {missing[0]}"
        )
