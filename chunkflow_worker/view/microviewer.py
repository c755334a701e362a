"""microviewer, CloudVolume's viewer: a page on this machine that shows a chunk by sections."""

from __future__ import annotations

import errno
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import VoxelSize

PORT = 8080


def show(
    image: NDArray[Any] | None,
    segmentation: NDArray[Any] | None,
    voxel_size: VoxelSize,
    offset: Vec3,
    port: int = PORT,
) -> None:
    """Serve the page on 127.0.0.1, open a browser, and return when the user presses Ctrl-C.

    image, segmentation: at least one of them; zyx, or czyx of which the first channel is shown.
        An image of three uint8 channels is shown in colour. Both have the same size.
    voxel_size: in nanometres, zyx; the page shows whole numbers.
    offset: global position of the first voxel, zyx.
    Raises ConfigError when the port is taken.
    """
    import microviewer  # type: ignore[import-untyped]

    options = {
        "resolution": voxel_size[::-1],
        "offset": offset[::-1],
        "hostname": "127.0.0.1",
        "port": port,
    }
    try:
        if image is not None and segmentation is not None:
            microviewer.hyperview(_image(image), _segmentation(segmentation), **options)
        elif image is not None:
            microviewer.view(_image(image), **options)
        elif segmentation is not None:
            microviewer.view(_segmentation(segmentation), seg=True, **options)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        problem = "is already in use on this machine"
        raise ConfigError.one("viewer", f"port {port}", problem, "close the other viewer") from None


def _image(array: NDArray[Any]) -> NDArray[Any]:
    """xyz or xyzc; signed integers and half floats, which the page cannot show, become float32."""
    if array.dtype.kind == "i" or array.dtype == "float16":
        array = array.astype("float32")
    return array.T


def _segmentation(array: NDArray[Any]) -> NDArray[Any]:
    """xyz, unsigned."""
    if array.dtype.kind == "i":
        array = array.astype(array.dtype.name.replace("int", "uint"))
    return array.T
