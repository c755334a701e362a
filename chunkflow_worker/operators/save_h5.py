"""save-h5"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.formats.h5_file import create_h5
from chunkflow_worker.storage.formats.h5_metadata import attributes_for
from chunkflow_worker.storage.local_file import OneBoxPerFile, atomic_file, own_file, task_file

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.image.chunk import Chunk


class SaveH5(Converter):
    """Write a chunk to an HDF5 file, which appears whole or not at all.

    The file contains `main` (zyx or czyx), `voxel_offset`, `voxel_size` in nanometres, and for a
    segmentation `unique_nonzeros`. The attributes of `main` give axes, size and place in the forms
    that Fiji, ilastik and funlib read. The chunk is cut to the task's box and keeps its type unless
    --dtype is given. Then float values from 0 to 1 become 0 to 255 for uint8; all other values
    saturate. Ids that the type does not hold are refused.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            save-h5 -f cutouts/em_ -c lzf
    """
    differs: ClassVar[str] = (
        "With a prefix, each task has its own file, named by its box. A margin that is left "
        "around the task's box is cut off."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("file_name",)
    formerly: ClassVar[tuple[str, ...]] = ("write-h5",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--input-chunk-name": "--input-name",
    }
    op: Literal["save-h5"] = "save-h5"
    input_name: str = field("chunk", flag="-i", help="Chunk to write.")
    file_name: str = field(
        flag="-f",
        help="File; a name that does not end in .h5 is a prefix: the box and .h5 are added.",
    )
    chunk_size: Vec3 | None = field(
        None, flag="-s", help="Size of the HDF5 chunks; default: HDF5 chooses it."
    )
    compression: Literal["gzip", "lzf", "szip"] = field(
        "gzip", flag="-c", help="Compression of the voxels."
    )
    with_offset: bool = field(True, off="--without-offset", help="Write the dataset voxel_offset.")
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-v", help="Size of a voxel in nanometres; default: the chunk's."
    )
    dtype: (
        Literal[
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "int8",
            "int16",
            "int32",
            "int64",
            "float16",
            "float32",
            "float64",
        ]
        | None
    ) = field(None, flag="-d", help="Type to convert to; default: the chunk's.")
    scale: tuple[float, float] | None = scale_option()
    touch: bool = field(
        True, help="Write an empty file if the chunk is None, to show that the box has no data."
    )

    _sizes = field_validator("chunk_size", "voxel_size")(above_zero)

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(self.file_name, box, ".h5")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        h5py = needs("h5py", extra="files")
        if self.compression == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
            raise ConfigError.one(
                self.label,
                "compression",
                "szip is not part of the installed h5py",
                "legal here: gzip, lzf",
            )
        files = OneBoxPerFile.named_by("file_name", self.file_name, ".h5", workers=run.recorded)

        def step(task: Task) -> None:
            if task.values.get(self.input_name, "absent") is None:
                path = task_file(self.file_name, task.bbox, ".h5")
                if self.touch and not run.dry_run:
                    with atomic_file(path) as part:
                        part.touch()
                return
            chunk = task.chunk_to_save(self.input_name)
            chunk = self.converted(chunk, self.dtype, task)
            path = task_file(self.file_name, task.bbox or chunk.bbox, ".h5")
            files.claim(path, task.bbox or chunk.bbox)
            if not run.dry_run:
                self._write(path, chunk)
                task.bytes_written += chunk.array.nbytes

        yield step

    def _write(self, path: Path, chunk: Chunk) -> None:
        import numpy as np

        chunks: tuple[int, ...] | None = None
        if self.chunk_size is not None:
            chunks = (*(1,) * (chunk.array.ndim - 3), *self.chunk_size.min(chunk.bbox.size))
        # szip works on blocks of 8 numbers, and a chunk must hold at least one block.
        too_small = self.compression == "szip" and np.prod(chunks or chunk.array.shape) < 8
        compression = None if too_small else self.compression
        chunk = replace(chunk, voxel_size=self.voxel_size or chunk.voxel_size)
        with atomic_file(path) as part, create_h5(part) as file:
            file.attrs["layer_type"] = chunk.layer_type
            main = file.create_dataset(
                "main", data=chunk.array, chunks=chunks, compression=compression
            )
            main.attrs.update(attributes_for(chunk, self.with_offset))
            file["voxel_size"] = chunk.voxel_size
            if self.with_offset:
                file["voxel_offset"] = chunk.voxel_offset
            if chunk.is_segmentation:
                ids = np.unique(chunk.array)
                file["unique_nonzeros"] = ids[ids != 0]
