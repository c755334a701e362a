"""load-nrrd"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk
from chunkflow_worker.storage.axes import Axes
from chunkflow_worker.storage.formats.nrrd_file import read_header, read_part
from chunkflow_worker.storage.formats.nrrd_metadata import axes_of, metadata_of


class LoadNrrd(ChunkReader):
    """Read the task's box, with the margin that later operators need, from an NRRD file.

    If the task has no box, it reads the whole file. Position and voxel size come from the header
    unless given. If the header gives the directions of the axes in space, the axes are turned to
    zyx; otherwise the first axis of the header is x. An axis of channels becomes the first axis.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-nrrd -f seg.nrrd -l segmentation save-h5 -f seg.h5"
    differs: ClassVar[str] = "This operator is new."
    format: ClassVar[str] = "NRRD"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".nrrd", ".nhdr")
    formerly: ClassVar[tuple[str, ...]] = ("read-nrrd",)
    op: Literal["load-nrrd"] = "load-nrrd"

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        nrrd = needs("nrrd", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            header, end = read_header(nrrd, path)
            letters = self.axes or axes_of(header, str(path))
            axes = Axes(letters, tuple(map(int, header["sizes"][::-1])), str(path))
            read = partial(read_part, nrrd, path, header, end, axes)
            yield StoredChunk(axes.size, read, metadata_of(header, letters))

        return open_file
