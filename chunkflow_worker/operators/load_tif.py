"""load-tif"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk
from chunkflow_worker.storage.axes import Axes, Window
from chunkflow_worker.storage.formats.tiff_file import image_of, open_tiff, read_part
from chunkflow_worker.storage.formats.tiff_metadata import (
    axes_of,
    is_signed_in_disguise,
    metadata_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LoadTif(ChunkReader):
    """Read the task's box, with the margin that later operators need, from a TIFF file.

    The file contains one page, a stack, or channels. If the task has no box, it reads the whole
    file. Channels and colours become the first axis, czyx. Position, voxel size and layer type are
    those of the file, as save-tif, ImageJ, Fiji or OME-TIFF store them, unless given. The type is
    the file's unless --dtype is given. Then uint8 values from 0 to 255 are scaled to float values
    from 0 to 1, and back; other types are not scaled, and values saturate. Ids that the type does
    not hold are refused.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-tif -f em.tif -s 40 4 4 save-h5 -f em.h5"
    differs: ClassVar[str] = (
        "With a prefix, each task has its own file. The file's voxel size, position and axes are "
        "used."
    )
    format: ClassVar[str] = "TIFF"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".tif", ".tiff")
    formerly: ClassVar[tuple[str, ...]] = ("read-tif",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--offset": "--voxel-offset",
        "--chunk-name": "--output-chunk-name",
    }
    op: Literal["load-tif"] = "load-tif"
    series: int | None = field(
        None, ge=0, help="Number of the image in a file of several; default: 0, the first."
    )

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        tifffile = needs("tifffile", extra="files")
        needs("imagecodecs", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            with open_tiff(tifffile, path) as tif:
                image, passed_over = image_of(tif, self.series, path)
                letters, shape, odd_axes = axes_of(tif, image)
                if self.axes:
                    letters, shape = self.axes, image.shape
                axes = Axes(letters, shape, str(path))
                said = metadata_of(tif, image, path)
                other = {"series": passed_over} if passed_over else {}
                said = replace(said, ignored={**said.ignored, **odd_axes, **other})
                is_signed = is_signed_in_disguise(tif, image)

                def read(window: Window) -> NDArray[Any]:
                    array = read_part(image, tif, axes, path, window)
                    return (array ^ 0x8000).view("int16") if is_signed else array

                yield StoredChunk(axes.size, read, said)

        return open_file
