"""A part of a page of a TIFF file: only the tiles or strips in it are read.

tifffile gives each page five axes: separate samples, z, y, x, and joined samples.
key: the page of tifffile whose tags count for all pages of an image.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CUT = "ZYX"  # tifffile's letters of the axes of which a part can be read
_JPEG = (6, 7, 33007, 34892)  # compressions with tables beside the tiles


def window_of(key: Any, inside: Any) -> list[slice]:
    """The part of a page in tifffile's five axes: separate samples, z, y, x, and joined samples."""
    window = [slice(0, n) for n in key.shaped]
    for letter, part in zip(key.axes, inside, strict=True):
        if is_cut(letter, part):
            axis = 1 + _CUT.index(letter)
            window[axis] = slice(*part.indices(key.shaped[axis])[:2])
    return window


def is_cut(letter: str, part: Any) -> bool:
    """Whether an index along an axis of a page becomes a part of its window."""
    return letter in _CUT and isinstance(part, slice)


def part_of_page(page: Any, key: Any, window: list[slice]) -> NDArray[Any]:
    """The window of a page, of which only the tiles or strips are read that it touches."""
    import numpy as np

    part: NDArray[Any] = np.full([s.stop - s.start for s in window], key.nodata, key.dtype)
    strip = (1, min(key.rowsperstrip, key.shaped[2]), key.shaped[3])
    tile = (key.tiledepth, key.tilelength, key.tilewidth) if key.is_tiled else strip
    counts = [-(-n // step) for n, step in zip(key.shaped[1:4], tile, strict=True)]
    touched = [
        range(s.start // step, -(-s.stop // step))
        for s, step in zip(window[1:4], tile, strict=True)
    ]
    numbers = np.arange(key.shaped[0] * prod(counts)).reshape(key.shaped[0], *counts)
    wanted = numbers[np.ix_(range(key.shaped[0]), *touched)].ravel().tolist()
    tables = {}
    if key.compression in _JPEG:
        tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
    for data, number in page.parent.filehandle.read_segments(
        [page.dataoffsets[n] for n in wanted], [page.databytecounts[n] for n in wanted], wanted
    ):
        segment, place, _ = key.decode(data, number, **tables)
        if segment is None:  # left out of the file
            continue
        source, target = [], []
        for s, first, length in zip(window[1:4], place[1:4], segment.shape, strict=False):
            start, stop = max(s.start, first), min(s.stop, first + length)
            source.append(slice(start - first, stop - first))
            target.append(slice(start - s.start, stop - s.start))
        part[(place[0], *target)] = segment[tuple(source)]
    shape = [
        part.shape[1 + _CUT.index(letter)] if letter in _CUT else n
        for letter, n in zip(key.axes, key.shape, strict=True)
    ]
    return part.reshape(shape)
