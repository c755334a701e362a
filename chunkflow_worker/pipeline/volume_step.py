"""`VolumeStep`: saves a task's chunk in a volume, from its first finished sections on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.conversion import above
from chunkflow_worker.pipeline.early import EarlyWrites
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.saving import (
    check_kind,
    check_voxel_size,
    note_empty,
    part_inside,
    write_verified,
)
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.volume import CheckedVolume, check_aligned

if TYPE_CHECKING:
    from chunkflow_worker.pipeline.volume_writer import VolumeWriter


@dataclass(frozen=True)
class VolumeStep:
    """opened: gives the volume, which earlier operators may have to make first."""

    writer: VolumeWriter
    run: Run
    opened: Callable[[], CheckedVolume]

    def __call__(self, task: Task) -> None:
        volume, writer = self.opened(), self.writer
        chunk = self._part(task.chunk(writer.input_chunk_name), volume, task)
        if self.run.dry_run:
            return
        threshold = writer.intensity_threshold
        if threshold is not None and not above(chunk.array, threshold).any():
            note_empty(chunk.bbox, volume, task)
            return
        write_verified(chunk, volume, task, writer, task.early)
        if writer.create_thumbnail:
            writer.write_thumbnail(chunk)
        if writer.upload_log and not self.run.recorded:
            writer.write_log(task, chunk.bbox)

    def early(self, task: Task) -> EarlyWrites | None:
        """Writes what needs no look at the whole chunk: values that are stored as they are."""
        writer = self.writer
        if self.run.dry_run or writer.intensity_threshold is not None or writer.scale is not None:
            return None
        volume = self.opened()

        def part(chunk: Chunk) -> Chunk | None:
            if chunk.dtype != volume.dtype:
                return None
            inside = self._part(chunk, volume, task)
            check_aligned(volume, inside.bbox)
            return inside

        return EarlyWrites(volume, part)

    def _part(self, chunk: Chunk, volume: CheckedVolume, task: Task) -> Chunk:
        """The part of a chunk to write. Raises ChunkMismatch and BoxOutsideVolume."""
        inside = part_inside(task.without_margins(chunk), volume, task)
        check_voxel_size(inside, volume)
        check_kind(inside, volume)
        return inside
