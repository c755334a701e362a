"""load-tif"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import file_to_read, local_name, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class LoadTif(Operator):
    """Read the task's box, and what later operators need around it, from a TIFF file: one page, a stack, or channels.

    Without a task's box it reads the whole file. Channels and colours become the first axis, czyx. Place, voxel size and
    layer type are those that save-tif left in the file, unless given. The type is the file's unless --dtype is given: then
    unsigned 8 bit becomes float from 0 to 1 and back, and everything else saturates. Differs from chunkflow 1.2.0: a prefix
    names a file for each task.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-tif -f em.tif -s 40 4 4 save-h5 -f em.h5"
    op: Literal["load-tif"] = "load-tif"
    file_name: str = field(
        flag="-f",
        help="File; where there is none, a name that does not end in .tif or .tiff is a prefix: the box and .tif are appended.",
    )
    voxel_offset: Vec3 | None = field(
        None,
        flag="-v",
        help="Global position of the file's first voxel; the file's when not given, else 0 0 0.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-s",
        help="Size of a voxel in nanometres; the file's when not given, else 1 1 1.",
    )
    layer_type: Literal["image", "segmentation"] | None = field(
        None, flag="-l", help="What the values mean; the file's when not given, else image."
    )
    dtype: (
        Literal["uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16"] | None
    ) = field(None, flag="-d", help="Type to convert to; the file's when not given.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    _local = field_validator("file_name")(local_name)

    _sizes = field_validator("voxel_size")(above_zero)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.chunk import Chunk

        tifffile = needs("tifffile", extra="files")
        needs("imagecodecs", extra="files")

        def step(task: Task) -> None:
            path = file_to_read(self.file_name, task.bbox, ".tif", ".tiff")
            with reading(path, "TIFF"):
                tif = _open(tifffile, path)
            with tif:
                with reading(path, "TIFF"):
                    series, stored = tif.series[0], _metadata(tif)
                    offset = Vec3.of(self.voxel_offset or stored.get("voxel_offset", (0, 0, 0)))
                    z, y, x = self.voxel_size or stored.get("voxel_size", (1.0, 1.0, 1.0))
                    layer_type = self.layer_type or stored.get("layer_type", "image")
                    bounds = BoundingBox.sized(
                        offset, _czyx_shape(series.axes, series.shape, path)[1:]
                    )
                box = run.box_in(bounds, task.bbox, path)
                with reading(path, "TIFF"):
                    array = _read(tif, box.slices(offset), path)
            task.bytes_read += array.nbytes
            chunk = Chunk(array, box.start, (float(z), float(y), float(x)), layer_type, bounds)
            task.values[self.output_chunk_name] = (
                chunk.as_dtype(self.dtype) if self.dtype else chunk
            )

        yield step


def _open(tifffile: Any, path: Path) -> Any:
    """The file. Pages that tifffile wrote one by one are images of their own to it, and one stack to us."""
    tif = tifffile.TiffFile(path)
    if tif.is_shaped and len(tif.series) > 1:
        tif.close()
        tif = tifffile.TiffFile(path, is_shaped=False)
    if len(tif.series) > 1:
        shapes = ", ".join(str(series.shape) for series in tif.series)
        log.warning(
            "%s holds several images, and only the first is read; their shapes: %s", path, shapes
        )
    return tif


def _metadata(tif: Any) -> dict[str, Any]:
    """What save-tif left in the file."""
    stored = tif.shaped_metadata
    return dict(stored[0]) if stored else {}


def _order(axes: str, path: Path) -> tuple[list[int], bool]:
    """Positions of the file's axes in the order (c)(z)yx, and whether the first of them is the channel.

    axes: letters of tifffile: C and S are channels and colours, and any other before Y and X is taken as z. Three axes CYX
        are a stack: most of these are sections whose writer did not say so.
    """
    letters = "S" if len(axes) == 3 else "CS"
    channel = next((axes.index(letter) for letter in letters if letter in axes), None)
    rest = [i for i in range(len(axes)) if i != channel]
    planar = "".join(axes[i] for i in rest).endswith("YX")
    if channel is None and len(axes) == 4 and planar:
        return rest, True
    if not planar or len(rest) > 3 or any(axes[i] in letters for i in rest):
        raise ChunkMismatch(
            f"{path} has the axes {axes}; a chunk has z, y, x and at most one axis of channels"
        )
    return ([] if channel is None else [channel]) + rest, channel is not None


def _czyx_shape(axes: str, shape: tuple[int, ...], path: Path) -> tuple[int, int, int, int]:
    order, has_channel = _order(axes, path)
    sizes = [shape[i] for i in order]
    channels = sizes.pop(0) if has_channel else 1
    y, x = sizes[-2:]
    return (channels, sizes[0] if len(sizes) == 3 else 1, y, x)


def _read(tif: Any, window: tuple[slice, slice, slice], path: Path) -> NDArray[Any]:
    """The voxels in `window`, zyx or czyx. Reads only the pages that it needs where each page is one section."""
    import numpy as np

    series = tif.series[0]
    order, has_channel = _order(series.axes, path)
    channels, depth, height, width = _czyx_shape(series.axes, series.shape, path)
    if order == sorted(order) and len(series.pages) == channels * depth > 1:
        pages = [
            c * depth + z for c in range(channels) for z in range(window[0].start, window[0].stop)
        ]
        array = tif.asarray(key=pages, series=0)
        window = (slice(None), *window[1:])
    else:
        array = tif.asarray(series=0).transpose(order)
    array = array.reshape(channels, -1, height, width)[(slice(None), *window)]
    array = np.ascontiguousarray(array)
    return array if has_channel else array[0]
