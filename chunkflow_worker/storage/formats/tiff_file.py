"""TIFF files: the image in one, and a part of it read from as few pages as possible."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.storage.axes import Axes, Window
from chunkflow_worker.storage.formats.tiff_inside import check_names, check_pages, other_files
from chunkflow_worker.storage.formats.tiff_page import is_cut, part_of_page, window_of
from chunkflow_worker.storage.largest import check_read, check_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 3


def open_tiff(tifffile: Any, path: Path) -> Any:
    """The open file; pages that tifffile wrote one by one become one stack.

    Raises DataRefused if it names files of other folders.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs objects; we say it in words
    # The indices of these formats name other files.
    alone = {"is_ndtiff": False, "is_mmstack": False}
    try:
        tif = tifffile.TiffFile(path, **alone)
    except tifffile.TiffFileError as error:
        text = "it does not begin like one" if "not a TIFF file" in str(error) else str(error)
        raise ValueError(text) from error
    try:
        check_names(tif, path)
    except BaseException:
        tif.close()
        raise
    if tif.is_shaped and len(tif.series) > 1 and all(len(one.pages) == 1 for one in tif.series):
        tif.close()
        tif = tifffile.TiffFile(path, is_shaped=False, **alone)
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
    if image.dataoffset is None or len(image.pages) == 1:
        _check_last_page(tif, path)
        _check_complete(tif, image, path)
    elif image.dataoffset + image.nbytes > tif.filehandle.size:
        raise _cut_short(path)
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
    missing = [name for name in other_files(tif) if not (path.parent / name).exists()]
    shown = ", ".join(missing[:_SHOWN]) + (" and others" if len(missing) > _SHOWN else "")
    files = f": its other files are missing beside it: {shown}" if missing else ""
    cure = "" if files else "; if it never had them, remove its OME-XML, as by tiffcomment -set ''"
    raise DataMissing(f"{path} lacks {absent} of its {len(image.pages)} planes{files}{cure}")


def _check_last_page(tif: Any, path: Path) -> None:
    """tifffile ends the list of pages where the file ends. The offset of a next page must be 0."""
    tif.filehandle.seek(tif.pages.next_page_offset)
    offset = tif.filehandle.read(tif.tiff.offsetsize)
    if len(offset) < tif.tiff.offsetsize or any(offset):
        raise _cut_short(path, f", with the pages after the first {len(tif.pages)}")


def _cut_short(path: Path, lost: str = "") -> DataMissing:
    return DataMissing(
        f"{path} cannot be read as TIFF: its end is missing{lost}; copy or make it again"
    )


def read_part(image: Any, tif: Any, axes: Axes, path: Path, window: Window) -> NDArray[Any]:
    """The voxels in `window`, zyx or czyx, in native byte order.

    axes: of the image; they may have further axes of length 1.
    """
    import numpy as np

    selection = axes.selection(window)
    check_window(window, image.dtype.itemsize * (axes.channels or 1), f"{path}: the part to read")
    if image.dataoffset is not None:  # uncompressed, in one piece
        stored = image.dtype.newbyteorder(tif.byteorder)
        array = np.memmap(path, stored, "r", image.dataoffset, axes.shape)[selection]
    else:
        with _explained(tif, image, path):
            array = _read_pages(image, tif, axes, path, selection)
    arranged = axes.arrange(array, window)
    return np.array(arranged, arranged.dtype.newbyteorder("="), order="C")


@contextmanager
def _explained(tif: Any, image: Any, path: Path) -> Iterator[None]:
    """Raises DataMissing if what fails is a read beyond the end of the file."""
    try:
        yield
    except Exception as error:
        ends = [
            offset + count
            for page in image.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
        if max(ends, default=0) <= tif.filehandle.size:
            raise
        raise _cut_short(path) from error


def _read_pages(image: Any, tif: Any, axes: Axes, path: Path, selection: Any) -> NDArray[Any]:
    """The part that is selected, from the pages that it touches, if a page is whole axes of it."""
    import numpy as np

    key = image.keyframe
    page_shape = tuple(key.shape)
    slow = len(axes.shape) - len(page_shape)
    whole_axes = slow >= 0 and axes.shape[slow:] == page_shape
    if not whole_axes or prod(axes.shape[:slow]) != len(image.pages):
        check_read(image.nbytes, f"{path}: its image")
        check_pages(image.pages, key, path)
        whole: NDArray[Any] = image.asarray()
        if whole.size != prod(axes.shape):
            raise DataMissing(
                f"{path} says that its shape is {list(axes.shape)}, and holds {whole.size} voxels"
            )
        part: NDArray[Any] = whole.reshape(axes.shape)[selection]
        return part
    inside = selection[slow:]
    numbers = np.arange(len(image.pages)).reshape(axes.shape[:slow])[selection[:slow]]
    window = window_of(key, inside)
    check_pages((image.pages[n] for n in numbers.ravel()), key, path)
    if 2 * prod(one.stop - one.start for one in window) >= prod(key.shaped):
        pages = tif.asarray(key=numbers.ravel().tolist(), series=image)
        pages = pages.reshape(*numbers.shape, *page_shape)
    else:
        parts = [part_of_page(image.pages[n], key, window) for n in numbers.ravel()]
        pages = np.stack(parts).reshape(*numbers.shape, *parts[0].shape)
        inside = tuple(
            slice(None) if is_cut(letter, one) else one
            for letter, one in zip(key.axes, inside, strict=True)
        )
    part = pages[(*(slice(None),) * numbers.ndim, *inside)]
    return part
