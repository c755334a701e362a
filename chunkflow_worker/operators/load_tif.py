"""load-tif"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.pipeline.file_reader import ChunkReader, StoredChunk, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class LoadTif(ChunkReader):
    """Read the task's box, with the margin that later operators need, from a TIFF file.

    The file contains one page, a stack, or channels. If the task has no box, it reads the whole
    file. Channels and colours become the first axis, czyx. Position, voxel size and layer type are
    those that save-tif stored in the file, unless given. The type is the file's unless --dtype is
    given. Then uint8 values from 0 to 255 are scaled to float values from 0 to 1, and back; other
    types are not scaled, and values saturate.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-tif -f em.tif -s 40 4 4 save-h5 -f em.h5"
    differs: ClassVar[str] = "With a prefix, each task has its own file."
    format: ClassVar[str] = "TIFF"
    reads_files: ClassVar[tuple[str, ...]] = ("file_name",)
    endings: ClassVar[tuple[str, ...]] = (".tif", ".tiff")
    op: Literal["load-tif"] = "load-tif"

    def opener(self) -> Callable[[Path], AbstractContextManager[StoredChunk]]:
        tifffile = needs("tifffile", extra="files")
        needs("imagecodecs", extra="files")

        @contextmanager
        def open_file(path: Path) -> Iterator[StoredChunk]:
            with _open(tifffile, path) as tif:
                series, metadata = tif.series[0], _metadata(tif)
                z, y, x = metadata.get("voxel_size", (1.0, 1.0, 1.0))
                yield StoredChunk(
                    _czyx_shape(series.axes, series.shape, path)[1:],
                    partial(_read, tif, path),
                    voxel_offset=Vec3.of(metadata.get("voxel_offset", (0, 0, 0))),
                    voxel_size=(float(z), float(y), float(x)),
                    layer_type=metadata.get("layer_type"),
                )

        return open_file


def _open(tifffile: Any, path: Path) -> Any:
    """The open file; pages that tifffile wrote one by one become one stack."""
    tif = tifffile.TiffFile(path)
    if tif.is_shaped and len(tif.series) > 1:
        tif.close()
        tif = tifffile.TiffFile(path, is_shaped=False)
    if len(tif.series) > 1:
        shapes = ", ".join(str(series.shape) for series in tif.series)
        log.warning("%s holds several images, and only the first is read; shapes: %s", path, shapes)
    return tif


def _metadata(tif: Any) -> dict[str, Any]:
    """What save-tif stored in the file."""
    stored = tif.shaped_metadata
    return dict(stored[0]) if stored else {}


def _order(axes: str, path: Path) -> tuple[list[int], bool]:
    """The indices of the file's axes in the order (c)(z)yx, and whether the first is the channel.

    axes: letters of tifffile. C and S are channels and colours, and any other letter before Y and X
        is taken as z. The three axes CYX are taken as a stack: most such files hold sections.
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


def _read(tif: Any, path: Path, window: Window) -> NDArray[Any]:
    """The voxels in `window`, zyx or czyx. Reads only the needed pages if each is one section."""
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
