"""`Compression`: how the bytes of encoded blocks are compressed."""

from __future__ import annotations

from typing import NamedTuple

from chunkflow_worker.storage.files import Packing
from chunkflow_worker.storage.gzipped import gzipped
from chunkflow_worker.storage.path import local_folder
from chunkflow_worker.volumes.precomputed.encoding import gains_by_gzip


class Compression(NamedTuple):
    """How the bytes of encoded blocks are compressed.

    packing: None for gzip, but not on a local disk, where such a block is a file *.gz, which only
        CloudVolume expects.
    level: None for the fastest of gzip, and the usual one of the others.
    """

    packing: Packing | None = None
    level: int | None = None

    @property
    def gzip_level(self) -> int:
        return self.level or 1

    def chosen(self, path: str, encoding: str) -> Packing:
        """What blocks of an encoding become in the volume at `path`."""
        if not gains_by_gzip(encoding):
            return "none"
        return self.packing or ("none" if local_folder(path) else "gzip")

    def packed(self, content: bytes, packing: Packing) -> bytes:
        """Compress the bytes of an encoded block."""
        if packing == "none":
            return content
        if packing == "gzip":
            return gzipped(content, self.gzip_level)
        from cloudfiles import compression

        packed: bytes = compression.compress(content, packing, self.level)
        return packed
