"""load-nrrd"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk
from chunkflow_worker.storage.axes import Axes, Window
from chunkflow_worker.storage.nrrd_metadata import axes_of, metadata_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        import numpy as np

        nrrd = needs("nrrd", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            _check_data_file(path)
            header = nrrd.read_header(str(path))
            letters = self.axes or axes_of(header, str(path))
            axes = Axes(letters, tuple(map(int, header["sizes"][::-1])), str(path))

            def read(window: Window) -> NDArray[Any]:
                stored = nrrd.read(str(path), index_order="C")[0]
                array = axes.arrange(stored[axes.selection(window)], window)
                return np.array(array, array.dtype.newbyteorder("="), order="C")

            yield StoredChunk(axes.size, read, metadata_of(header, letters))

        return open_file


def _check_data_file(path: Path) -> None:
    """Raises ChunkMismatch if the voxels are in several files, which pynrrd does not read."""
    with path.open("rb") as file:
        for line in file:
            name, _, value = line.decode(errors="replace").partition(":")
            several = value.strip().startswith("LIST") or "%" in value
            if name.replace(" ", "") == "datafile" and several:
                raise ChunkMismatch(
                    f"{path} has its voxels in several files ({value.strip()}): join them first, "
                    "for example with unu save"
                )
            if not line.strip() or not line.isascii():
                return
