"""`bound_unpacking`: cloudfiles unpacks objects to their end, however much that is; here no more
than is taken.
"""

from __future__ import annotations

import bz2
import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, BinaryIO

from chunkflow_worker.config.largest_block import largest_block
from chunkflow_worker.storage.gzipped import gunzipped
from chunkflow_worker.storage.largest import bytes_text, check_block

_PART = 1 << 20
_most: ContextVar[int | None] = ContextVar("most bytes of an object", default=None)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Inside, a block that unpacks to more bytes is damaged: it raises ValueError."""
    before = _most.set(size)
    try:
        yield
    finally:
        _most.reset(before)


@cache
def bound_unpacking() -> None:
    """Make cloudfiles, and so CloudVolume, refuse objects in place of unpacking too much."""
    from cloudfiles import compression

    unpack = compression.decompress

    def decompress(content: bytes, encoding: Any, filename: str = "N/A") -> Any:
        name = compression.normalize_encoding(encoding)
        if not content or name is None:
            return unpack(content, encoding, filename)
        if name == "gzip":
            unpacked = gunzipped(content, _bound())
            if len(unpacked) > _bound():  # its end says how much there is, if it is right
                _check(max(len(unpacked), int.from_bytes(bytes(content[-4:]), "little")))
            return unpacked
        if name in _READERS:
            return _read(_READERS[name](bytes(content)))
        return unpack(content, encoding, filename)

    compression.decompress = decompress


def _read(stream: BinaryIO) -> bytes:
    """All of a stream; raises the errors of `_check` as soon as it is too much."""
    parts, length = [], 0
    while part := stream.read(_PART):
        parts.append(part)
        length += len(part)
        _check(length)
    return b"".join(parts)


def _bound() -> int:
    """How many bytes are taken."""
    most = _most.get()
    return largest_block() if most is None else most


def _check(size: int) -> None:
    most = _most.get()
    if most is None:
        check_block(size, "an object")
    elif size > most:
        raise ValueError(f"it unpacks to {bytes_text(size)} or more, and has {bytes_text(most)}")


def _zstd(content: bytes) -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(content)


class _Brotli(io.RawIOBase):
    def __init__(self, content: bytes):
        import brotli

        self._unpacker, self._content = brotli.Decompressor(), content

    def read(self, size: int = -1) -> bytes:
        if self._unpacker.is_finished():
            return b""
        part: bytes = self._unpacker.process(self._content, output_buffer_limit=size)
        self._content = b""
        if not part and not self._unpacker.is_finished():
            raise EOFError("its end is missing")
        return part


def _bz2(content: bytes) -> Any:
    return bz2.BZ2File(io.BytesIO(content))


def _xz(content: bytes) -> Any:
    return lzma.LZMAFile(io.BytesIO(content))


_READERS: dict[Any, Callable[[bytes], Any]] = {
    "zstd": _zstd,
    "br": _Brotli,
    "bz2": _bz2,
    "bzip2": _bz2,
    "xz": _xz,
    "lzma": _xz,
}
