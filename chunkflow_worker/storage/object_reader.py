"""`ObjectReader`: an object in storage as a file that is read in parts, for other libraries."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkflow_worker.storage.files import Files


class ObjectReader(io.RawIOBase):
    """Reads ranges of one object. size: in bytes. Raises StorageUnavailable."""

    def __init__(self, files: Files, name: str, size: int):
        super().__init__()
        self._files, self._name, self._size, self._at = files, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = origin + offset
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        content = self._files.part(self._name, self._at, stop)
        self._at += len(content)
        return content
