"""The viewer of CloudVolume, microviewer: a page on this machine that shows a chunk section by section."""

from __future__ import annotations

import errno
from typing import Any

from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3

PORT = 8080


def show(
    image: NDArray[Any] | None,
    segmentation: NDArray[Any] | None,
    voxel_size: tuple[float, float, float],
    offset: Vec3,
    port: int = PORT,
) -> None:
    """Serve the page on 127.0.0.1, open a browser, and return when the user ends it with Ctrl-C.

    image, segmentation: zyx, or czyx of which the first channel is shown (uint8 of 3 channels in colour); at least one
        of them, of the same size. voxel_size: nanometres, zyx, shown in whole numbers. offset: global position, zyx.
    Raises ConfigError when the port is taken.
    """
    import microviewer  # type: ignore[import-untyped]

    place = {
        "resolution": voxel_size[::-1],
        "offset": offset[::-1],
        "hostname": "127.0.0.1",
        "port": port,
    }
    try:
        if image is not None and segmentation is not None:
            microviewer.hyperview(_grey(image), _ids(segmentation), **place)
        elif image is not None:
            microviewer.view(_grey(image), **place)
        elif segmentation is not None:
            microviewer.view(_ids(segmentation), seg=True, **place)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError.one(
            "viewer", f"port {port}", "is taken on this machine", "close the other viewer"
        ) from None


def _grey(array: NDArray[Any]) -> NDArray[Any]:
    """xyz or xyzc, in a type that the page can show: signed integers and half floats become float32."""
    shown = (
        array.astype("float32") if array.dtype.kind == "i" or array.dtype == "float16" else array
    )
    return shown.T


def _ids(array: NDArray[Any]) -> NDArray[Any]:
    """xyz, unsigned."""
    shown = (
        array.astype(array.dtype.name.replace("int", "uint")) if array.dtype.kind == "i" else array
    )
    return shown.T
