"""Objects that unpack to more than is taken."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import brotli
import pytest
import zstandard
from cloudfiles import compression

from chunkflow_worker.config.largest_block import VARIABLE
from chunkflow_worker.errors import DataRefused
from chunkflow_worker.storage.unpacking import at_most, bound_unpacking

SIZE = 3 << 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def packed_in_parts(content: bytes) -> bytes:
    """zstd without the size."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [*PACKERS.items(), ("zstd", packed_in_parts)],
    ids=[*PACKERS, "zstd without the size"],
)
def test_no_more_is_unpacked_than_is_taken(
    monkeypatch: pytest.MonkeyPatch, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bound_unpacking()
    content = pack(bytes(SIZE))
    assert compression.decompress(content, encoding) == bytes(SIZE)
    with at_most(SIZE):
        assert compression.decompress(content, encoding) == bytes(SIZE)
    with at_most(SIZE - 1), pytest.raises(ValueError, match="it unpacks to 3 MiB or more"):
        compression.decompress(content, encoding)
    monkeypatch.setenv(VARIABLE, "1MiB")
    with pytest.raises(DataRefused, match=r"an object has .* unpacked"):
        compression.decompress(content, encoding)


def test_what_is_not_packed_is_left() -> None:
    bound_unpacking()
    assert compression.decompress(b"plain", None) == b"plain"
