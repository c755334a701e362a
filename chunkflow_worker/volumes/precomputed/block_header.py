"""`check_block_content`: what a block of a precomputed volume says of itself, before it is decoded.

The decoders take memory for what a block says that it holds, and some of them read beyond its end.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO
from math import prod
from typing import Any

import numpy as np

from chunkflow_worker.storage.formats.picture_size import picture_size

BESIDE = 1 << 16  # bytes that a block may have beside its voxels
_BITS = (0, 1, 2, 4, 8, 16, 32)  # of the indices in compressed_segmentation


def check_block_content(
    content: bytes, encoding: str, shape: Sequence[int], dtype: Any, block_size: Any
) -> None:
    """Raise ValueError if a block is not one of `shape`, x, y, z and channels.

    block_size: of compressed_segmentation.
    """
    sizes, itemsize = [int(n) for n in shape], np.dtype(dtype).itemsize
    if encoding == "raw":
        if len(content) != (size := prod(sizes) * itemsize):
            voxels = "x".join(map(str, sizes))
            raise ValueError(
                f"it has {len(content)} bytes, and {voxels} voxels of {np.dtype(dtype)} take {size}"
            )
    elif encoding in ("jpeg", "png", "jxl"):
        found = picture_size(content)
        if found is None:
            raise ValueError(f"it is no {encoding} picture")
        if found.height * found.width != prod(sizes[:3]):
            raise ValueError(f"it is a picture of {found.height} x {found.width} pixels")
    elif encoding == "compresso":
        _check_sizes(content, b"cpso", (6, 8, 10), 2, sizes)
    elif encoding == "crackle":
        _check_sizes(content, b"crkl", (7, 11, 15), 4, sizes)
    elif encoding == "zfpc":
        _check_sizes(content, b"zfpc", (6, 10, 14), 4, sizes)
    elif encoding == "compressed_segmentation":
        _check_segmentation(content, sizes, itemsize, [int(n) for n in block_size])
    elif encoding in ("npz", "npz_uint8"):
        _check_npz(content, prod(sizes) * itemsize + BESIDE)


def _check_sizes(
    content: bytes, magic: bytes, places: Sequence[int], width: int, sizes: Sequence[int]
) -> None:
    found = [int.from_bytes(content[at : at + width], "little") for at in places]
    if not content.startswith(magic) or found != list(sizes[:3]):
        raise ValueError(f"it says that its size is {found}, and a block has {list(sizes[:3])}")


def _check_npz(content: bytes, most: int) -> None:
    try:
        unpacked = zlib.decompressobj().decompress(content, most + 1)
    except zlib.error:
        raise ValueError("it is damaged, or not compressed as npz is") from None
    if len(unpacked) > most:
        raise ValueError(f"it unpacks to more than the {most} bytes of a block")
    version = np.lib.format.read_magic(BytesIO(unpacked))
    if version != (1, 0):
        raise ValueError(f"its array is of version {version}")
    file = BytesIO(unpacked[8:])
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or prod(shape) * dtype.itemsize > most:
        raise ValueError(f"it says that its size is {shape}")


def _check_segmentation(
    content: bytes, sizes: Sequence[int], itemsize: int, block: Sequence[int]
) -> None:
    """Raise ValueError if a header, an index or a table of values points beyond the content.

    github.com/google/neuroglancer, src/sliceview/compressed_segmentation/README.md
    """
    words = np.frombuffer(content[: len(content) // 4 * 4], "<u4").astype(np.int64)
    channels = sizes[3] if len(sizes) > 3 else 1
    grid = [-(-n // b) for n, b in zip(sizes, block, strict=False)]
    if len(words) < channels:
        raise ValueError("its end is missing")
    for start in words[:channels]:
        here = words[start:]
        if len(here) < 2 * prod(grid):
            raise ValueError("its end is missing")
        heads = here[: 2 * prod(grid)].reshape(-1, 2)
        table, bits, values = heads[:, 0] & 0xFFFFFF, heads[:, 0] >> 24, heads[:, 1]
        if not np.isin(bits, _BITS).all():
            raise ValueError("the number of bits of a value is not one of the format's")
        lengths = -(-(bits * prod(block)) // 32)
        if (values + lengths).max(initial=0) > len(here):
            raise ValueError("its end is missing")
        for width in np.unique(bits):
            chosen = bits == width
            _check_indices(here, table[chosen], values[chosen], int(width), prod(block), itemsize)


def _check_indices(
    words: Any, tables: Any, values: Any, bits: int, voxels: int, itemsize: int
) -> None:
    """Raise ValueError if an index of blocks with so many bits leads beyond the content."""
    step = itemsize // 4
    room = (len(words) - tables) // step  # entries from the table to the end
    if (room < 1).any():
        raise ValueError("a table of values begins after its end")
    if bits == 0:
        return
    close = np.flatnonzero(room < (1 << bits))
    per_word, mask = 32 // bits, (1 << bits) - 1
    for number in close:
        length = -(-voxels // per_word)
        packed = words[values[number] : values[number] + length]
        shifts = np.arange(per_word) * bits
        indices = (packed[:, np.newaxis] >> shifts & mask).ravel()[:voxels]
        if indices.max(initial=0) >= room[number]:
            raise ValueError("an index leads beyond its end")
