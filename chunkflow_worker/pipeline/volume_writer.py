"""`VolumeWriter`: the options and the step of the operators that write a volume of any format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import Mistake
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.volumes.volume import CheckedVolume


_LEVELS = {"none": 0, "gzip": 9, "br": 11, "zstd": 22}  # the highest


class VolumeWriter(Converter):
    """Base of the operators that write the task's box to an existing volume."""

    volume_path: str = field(flag="-v", help="Path of the volume, which must exist.")
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    mip: int | None = field(None, flag="-m", help="Mip level to write; default: 0.")
    scale: tuple[float, float] | None = scale_option()
    upload_log: bool = field(
        False,
        help="Write the operators' seconds to log/ below the volume; workers always write a "
        "record.",
    )
    create_thumbnail: bool = field(
        False, help="Write a small picture of the last channel's middle section to thumbnail/."
    )
    intensity_threshold: float | None = field(
        None, flag="-t", help="Write nothing if no voxel of the chunk is above this."
    )
    parallel: int = field(
        1,
        flag="-p",
        ge=0,
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect, since blocks are "
        "compressed and uploaded at the same time anyway.",
    )
    compress: Literal["gzip", "br", "zstd", "none"] | None = field(
        None,
        help="Compression of the blocks of a precomputed volume; default: gzip in object stores, "
        "none on a local disk, where a compressed block is a file such as *.gz, which CloudVolume "
        "reads, and TensorStore, Neuroglancer and web servers do not find. br and zstd (in object "
        "stores) are read by CloudVolume and by Neuroglancer in browsers that know them.",
    )
    compression_level: int | None = field(
        None,
        ge=1,
        le=22,
        help="1 is the fastest; up to 9 with gzip, 11 with br, 22 with zstd. Default: 1 with gzip, "
        "whose levels 1 to 3 are several times as fast as the others.",
    )
    fill_missing: bool = field(
        False,
        off="--no-fill",
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect, since whole blocks "
        "are written.",
    )

    @model_validator(mode="after")
    def _level_is_of_the_compression(self) -> Self:
        method, level = self.compress or "gzip", self.compression_level
        most = _LEVELS[method]
        if level is not None and level > most:
            legal = f"legal: 1 to {most}" if most else "leave compression_level out"
            raise Mistake(f"compression_level {level} is none of {method}", legal)
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.pipeline.volume_step import VolumeStep
        from chunkflow_worker.storage.path import normal_path
        from chunkflow_worker.volumes.open_volume import open_volume
        from chunkflow_worker.volumes.precomputed.compression import Compression

        if self.create_thumbnail:
            needs("PIL.Image", extra="files")

        @cache
        def opened() -> CheckedVolume:
            return open_volume(
                self.volume_path,
                self.mip or 0,
                output=True,
                compression=Compression(self.compress, self.compression_level),
            )

        made_here = normal_path(self.volume_path) in run.made
        if not made_here:
            opened()
        # The volume does not exist in a dry run of a chain that makes it.
        yield _nothing if made_here and run.dry_run else VolumeStep(self, run, opened)

    def write_log(self, task: Task, box: BoundingBox) -> None:
        """Write the seconds of the operators to the volume's folder log."""
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.storage.written_file import noting

        content: dict[str, Any] = {
            "timer": task.seconds,
            "compute_device": task.device,
            "bbox": str(task.bbox or box),
        }
        with noting(None):  # the record of a run with a ledger may replace it
            Files(f"{self.volume_path}/log").put_json(f"{task.bbox or box}.json", content)

    def write_thumbnail(self, chunk: Chunk) -> None:
        """Write a picture of the chunk to the volume's folder thumbnail."""
        import io

        from chunkflow_worker.image.conversion import convert
        from chunkflow_worker.storage.files import Files

        image = needs("PIL.Image", extra="files")
        section = chunk.czyx[-1, chunk.bbox.size.z // 2]
        if section.dtype.kind in "ui" and section.dtype.itemsize > 1:
            section = section / max(section.max(), 1)  # the brightest value becomes white
        picture = image.fromarray(convert(section, "uint8"))
        picture.thumbnail((256, 256))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        Files(f"{self.volume_path}/thumbnail").put(
            f"{chunk.bbox}.png", buffer.getvalue(), "image/png"
        )


def _nothing(task: Task) -> None:
    """The step of a dry run, where the volume is not made."""
