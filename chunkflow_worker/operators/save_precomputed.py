"""save-precomputed"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, StorageUnavailable
from chunkflow_worker.operator import Operator, Run, Step
from chunkflow_worker.options import field
from chunkflow_worker.task import Task, Written

if TYPE_CHECKING:
    from chunkflow_worker.bbox import BoundingBox
    from chunkflow_worker.chunk import Chunk


class SavePrecomputed(Operator):
    """Write a chunk to an existing precomputed volume, in whole blocks, and verify that they are there.

    Values become the volume's type: float in [0, 1] becomes 0 to 255 for uint8; everything saturates and nothing wraps
    around. A box that would share a block with a neighbour is refused, unless it ends where the volume ends.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            threshold -t 99 \
            save-precomputed -v file://mask
    """
    op: Literal["save-precomputed"] = "save-precomputed"
    volume_path: str = field(flag="-v", help="Path of the volume, made before with create-info.")
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    mip: int | None = field(None, flag="-m", help="Mip level to write; 0 when not given.")
    upload_log: bool = field(False, help="Write the operators' seconds to log/ below the volume; workers always write a record.")
    create_thumbnail: bool = field(False, help="Write a small picture of the last channel's middle section to thumbnail/.")
    intensity_threshold: float | None = field(None, flag="-t", help="Write nothing when no voxel of the chunk is above this.")
    parallel: int = field(
        1,
        flag="-p",
        ge=1,
        help="Processes that compress and upload in a local run; workers have several tasks in flight instead.",
    )
    fill_missing: bool = field(
        False, off="--no-fill", help="Kept for old command lines: whole blocks are written, so none is ever read back."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.chunk import convert, count_nan
        from chunkflow_worker.storage.precomputed import PrecomputedVolume
        from chunkflow_worker.storage.volume import checksum

        # CloudVolume's processes set signal handlers, which threads of a worker may not.
        volume = PrecomputedVolume(self.volume_path, self.mip or 0, parallel=1 if run.recorded else self.parallel)

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            box = chunk.bbox.clip(volume.bounds)
            if box is None:
                raise BoxOutsideVolume(f"chunk {chunk.bbox} lies outside {self.volume_path}, which is {volume.bounds}")
            asked = task.bbox.clip(volume.bounds) if task.bbox and task.voxel_size == chunk.voxel_size else None
            if asked is not None and not box.contains(asked):
                raise ChunkMismatch(
                    f"the chunk covers {box} of the task's {asked} in {self.volume_path}, and would leave a hole: "
                    "the output volume must not be larger than what the chain produces"
                )
            chunk = chunk.cutout(box)
            if run.dry_run or (self.intensity_threshold is not None and not (chunk.array > self.intensity_threshold).any()):
                return
            array = convert(chunk.array, volume.dtype)
            volume.write(box, array)
            missing = volume.missing(box)
            if missing:
                raise StorageUnavailable(f"{self.volume_path}: {len(missing)} blocks are absent after writing: {missing[0]}")
            task.bytes_written += array.nbytes
            nan = count_nan(chunk.array) if array.dtype.kind != "f" else 0
            crc32 = checksum(array) if volume.lossless else ""
            task.written.append(Written(volume.path, volume.mip, str(box), crc32, nan))
            if self.create_thumbnail:
                self._write_thumbnail(chunk)
            if self.upload_log and not run.recorded:
                self._write_log(task, box)

        yield step

    def _write_log(self, task: Task, box: BoundingBox) -> None:
        from chunkflow_worker.files import Files

        content: dict[str, Any] = {"timer": task.seconds, "compute_device": task.device, "bbox": str(task.bbox or box)}
        Files(f"{self.volume_path}/log").put_json(f"{task.bbox or box}.json", content)

    def _write_thumbnail(self, chunk: Chunk) -> None:
        import io

        from chunkflow_worker.chunk import convert
        from chunkflow_worker.extras import needs
        from chunkflow_worker.files import Files

        image = needs("PIL.Image", extra="files")
        section = convert(chunk.czyx[-1, chunk.bbox.size.z // 2], "uint8")
        picture = image.fromarray(section)
        picture.thumbnail((256, 256))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        Files(f"{self.volume_path}/thumbnail").put(f"{chunk.bbox}.png", buffer.getvalue(), "image/png")
