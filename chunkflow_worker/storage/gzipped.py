"""gzip and CRC-32 by the fastest libraries.

ISA-L compresses ten times as fast as zlib, with the same ratio, on levels 1 to 3; the others are
zlib's, and all where there is no ISA-L. libdeflate unpacks one member twice as fast as zlib.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any

import deflate

_fast: Any = zlib
with suppress(ImportError):  # it is not made for all machines
    from isal import isal_zlib as _fast
Content = bytes | bytearray | memoryview
_FAST_LEVELS = range(1, 4)
_MEMBER = b"\x1f\x8b\x08"  # how each begins
_GZIP = 31  # window bits of zlib's functions, for a stream with the header of gzip


def gzipped(content: Content, level: int = 1) -> bytes:
    """Compress to one member. level: 1, the fastest, to 9, the smallest."""
    library: Any = _fast if level in _FAST_LEVELS else zlib
    packed: bytes = library.compress(content, level, _GZIP)
    return packed


def gunzipped(content: Content, most: int) -> bytes:
    """Unpack all members; trailing zeros are no member.

    Stops after `most` bytes and one, however much there is. Raises EOFError if the end is missing,
    and ValueError for what is no gzip or is damaged.
    """
    # libdeflate makes room for as many bytes as the end says; where that is 0, it does not look.
    size = int.from_bytes(content[-4:], "little")
    if 0 < size <= most and bytes(content).find(_MEMBER, 1) < 0:
        with suppress(deflate.DeflateError, ValueError):  # what is wrong is told below
            return bytes(deflate.gzip_decompress(content))
    parts: list[bytes] = []
    left, rest = most + 1, content
    while left and (not parts or bytes(rest).strip(b"\0")):
        member = _fast.decompressobj(_GZIP)
        try:
            parts.append(member.decompress(rest, left))
        except (zlib.error, _fast.error) as error:
            raise ValueError(f"it is no gzip, or damaged: {error}") from None
        left -= len(parts[-1])
        if left and not member.eof:
            raise EOFError("its end is missing")
        rest = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def crc32(content: Content, start: int = 0) -> int:
    """The CRC-32 of bytes that follow those whose CRC-32 is `start`."""
    return int(_fast.crc32(content, start))
