"""The chunks of an HDF5 dataset, which HDF5 unpacks as a whole, checked before it does."""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import Any

from chunkflow_worker.config.largest_block import largest_block
from chunkflow_worker.errors import DataRefused
from chunkflow_worker.storage.formats.h5_inside import check_inside
from chunkflow_worker.storage.largest import check_block

_DEFLATE_RATIO = 1032  # the most that deflate can compress
_PART = 1 << 20
_BESIDE = 64  # bytes of filters that add to a chunk, such as checksums


def check_values(data: Any, path: Path) -> None:
    """Raise DataRefused if the values of a dataset are not in the file, or unpack to too much."""
    check_inside(data, path)
    check_chunks(data, path)


def check_chunks(data: Any, path: Path) -> None:
    """Raise DataRefused if a chunk of a dataset unpacks to more than it says, or than is taken.

    HDF5 unpacks gzip to its end, however much that is. Streams so small that they can't reach the
    bound are not looked at.
    """
    if data.chunks is None:
        return
    place = f"{path}: a chunk of dataset {str(data.name).strip('/')!r}"
    size = prod(data.chunks) * data.dtype.itemsize
    check_block(size, place)
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    least = largest_block() // _DEFLATE_RATIO
    if 1 not in filters or path.stat().st_size <= least:
        return
    if filters.count(1) > 1:
        raise DataRefused(f"{place} is compressed twice: write it with one filter")
    large: list[tuple[int, ...]] = []

    def note(chunk: Any) -> None:
        if chunk.size > least and not chunk.filter_mask & 1 << filters.index(1):
            large.append(chunk.chunk_offset)

    data.id.chunk_iter(note)
    for offset in large:
        _check_stream(data.id.read_direct_chunk(offset)[1], size + _BESIDE, place)


def _check_stream(content: bytes, most: int, place: str) -> None:
    """Unpack a stream of zlib piece by piece, and keep nothing of it."""
    unpacker, length = zlib.decompressobj(), 0
    while not unpacker.eof and content:
        try:
            part = unpacker.decompress(content, _PART)
        except zlib.error:  # HDF5 reports it when the chunk is read
            return
        length, content = length + len(part), unpacker.unconsumed_tail
        if length > most:
            raise DataRefused(f"{place} unpacks to more than its {most - _BESIDE} bytes")
