"""save-tif"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.formats.tiff_create import write_tiff
from chunkflow_worker.storage.local_file import OneBoxPerFile, atomic_file, own_file, task_file


class SaveTif(Converter):
    """Write a chunk to a TIFF file of one page for each section; it appears whole or not at all.

    The chunk is cut to the task's box and keeps its type unless --dtype is given. Then float values
    from 0 to 1 become 0 to 255 for uint8; all other values saturate. Ids that the type does not
    hold are refused. A stack of uint8, uint16 or float32 has the metadata of ImageJ, so that Fiji
    and napari show its voxel size. Other types, channels and files above 4 GB have those of
    OME-TIFF. load-tif restores the whole chunk.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-h5 -f map.h5 save-tif -f map.tif -t uint8 -c lzw"
    differs: ClassVar[str] = (
        "uint8 stays uint8. The metadata is that of ImageJ or OME-TIFF. Every task gets its own "
        "file. packints means packbits. delta is removed, because it is not a TIFF compression. A "
        "margin that is left around the task's box is cut off."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("file_name",)
    formerly: ClassVar[tuple[str, ...]] = ("write-tif",)
    op: Literal["save-tif"] = "save-tif"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to write.")
    file_name: str | None = field(
        None,
        flag="-f",
        help="File; a name that does not end in .tif or .tiff is a prefix: the box and .tif are "
        "added; default: the box alone.",
    )
    dtype: Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64"] | None = field(
        None, flag="-t", help="Type to convert to; default: the chunk's."
    )
    scale: tuple[float, float] | None = scale_option()
    compression: Literal["", "zlib", "lzw", "lzma", "packints", "jpeg"] = field(
        "zlib",
        flag="-c",
        help="Compression; none if empty. jpeg loses detail and takes only uint8.",
    )

    @model_validator(mode="after")
    def _type_fits_jpeg(self) -> SaveTif:
        if self.compression == "jpeg" and self.dtype not in (None, "uint8"):
            raise ValueError(f"compression jpeg takes only uint8, and dtype is {self.dtype}")
        return self

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(self.file_name or "", box, ".tif", ".tiff")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        tifffile = needs("tifffile", extra="files")
        needs("imagecodecs", extra="files")
        compression = {"": None, "packints": "packbits"}.get(self.compression, self.compression)
        files = OneBoxPerFile.named_by(
            "file_name", self.file_name or "", ".tif", ".tiff", workers=run.recorded
        )

        def step(task: Task) -> None:
            chunk = task.chunk_to_save(self.input_chunk_name)
            chunk = self.converted(chunk, self.dtype, task)
            if compression == "jpeg" and chunk.dtype.name != "uint8":
                raise ChunkMismatch(
                    f"compression jpeg takes uint8, and the chunk is {chunk.dtype}; add --dtype "
                    "uint8"
                )
            path = task_file(self.file_name or "", task.bbox or chunk.bbox, ".tif", ".tiff")
            files.claim(path, task.bbox or chunk.bbox)
            if run.dry_run:
                return
            with atomic_file(path) as part:
                write_tiff(tifffile, part, chunk, compression)
            task.bytes_written += chunk.array.nbytes

        yield step
