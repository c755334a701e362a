"""TIFF files: the image in one, and a part of it read from as few pages as possible."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.storage.axes import Axes, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 3


def open_tiff(tifffile: Any, path: Path) -> Any:
    """The open file; pages that tifffile wrote one by one become one stack."""
    tif = tifffile.TiffFile(path)
    if tif.is_shaped and len(tif.series) > 1:
        tif.close()
        tif = tifffile.TiffFile(path, is_shaped=False)
    return tif


def image_of(tif: Any, number: int | None, path: Path) -> tuple[Any, str]:
    """The image (tifffile's series) of a number, and what was passed over; empty if nothing was.

    Raises ConfigError if there is no such image, ChunkMismatch if it does not hold numbers, and
    DataMissing if a part of it is missing.
    """
    images = tif.series
    if not 0 <= (number or 0) < len(images):
        legal = f"legal: 0 to {len(images) - 1}"
        raise ConfigError.one(str(path), "series", f"there is no image {number}", legal)
    image = images[number or 0]
    if image.dtype is None or image.dtype.kind not in "buif":
        what = "complex numbers" if image.dtype is not None else "values of an unknown type"
        raise ChunkMismatch(f"{path} holds {what}; a chunk is integers or floats")
    _check_complete(tif, image, path)
    passed_over = ""
    if len(images) > 1 and number is None:
        shapes = ", ".join(str(other.shape) for other in images)
        passed_over = f"holds several images, and only the first is read; shapes: {shapes}"
    return image, passed_over


def _check_complete(tif: Any, image: Any, path: Path) -> None:
    """tifffile reads missing planes as zeros, for example those of other files of an OME set."""
    absent = sum(page is None for page in image.pages)
    if not absent:
        return
    missing = [name for name in _other_files(tif) if not (path.parent / name).exists()]
    shown = ", ".join(missing[:_SHOWN]) + (" and others" if len(missing) > _SHOWN else "")
    files = f": its other files are missing beside it: {shown}" if missing else ""
    raise DataMissing(f"{path} lacks {absent} of its {len(image.pages)} planes{files}")


def _other_files(tif: Any) -> list[str]:
    """Names of the files that an OME-TIFF lists as parts of the same image."""
    if not tif.is_ome:
        return []
    root = ElementTree.fromstring(tif.ome_metadata)
    names = [item.get("FileName") for item in root.iter() if item.tag.endswith("}UUID")]
    return list(dict.fromkeys(name for name in names if name))


def read_part(image: Any, tif: Any, axes: Axes, path: Path, window: Window) -> NDArray[Any]:
    """The voxels in `window`, zyx or czyx, in native byte order.

    axes: of the image; they may have further axes of length 1.
    """
    import numpy as np

    selection = axes.selection(window)
    if image.dataoffset is not None:  # uncompressed, in one piece
        stored = image.dtype.newbyteorder(tif.byteorder)
        array = np.memmap(path, stored, "r", image.dataoffset, axes.shape)[selection]
    else:
        array = _read_pages(image, tif, axes, selection)
    arranged = axes.arrange(array, window)
    return np.array(arranged, arranged.dtype.newbyteorder("="), order="C")


def _read_pages(image: Any, tif: Any, axes: Axes, selection: Any) -> NDArray[Any]:
    """The part that is selected, from the pages that it touches, if a page is whole axes of it."""
    import numpy as np

    page_shape = tuple(image.keyframe.shape)
    slow = len(axes.shape) - len(page_shape)
    whole_axes = slow > 0 and axes.shape[slow:] == page_shape
    if not whole_axes or prod(axes.shape[:slow]) != len(image.pages):
        part: NDArray[Any] = image.asarray().reshape(axes.shape)[selection]
        return part
    numbers = np.arange(len(image.pages)).reshape(axes.shape[:slow])[selection[:slow]]
    pages = tif.asarray(key=numbers.ravel().tolist(), series=image)
    inside = (*(slice(None),) * numbers.ndim, *selection[slow:])
    part = pages.reshape(*numbers.shape, *page_shape)[inside]
    return part
