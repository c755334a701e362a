"""`cache_size`: how many bytes of decoded blocks a process keeps."""

from __future__ import annotations

from chunkflow_worker.config.largest_block import bytes_in

VARIABLE = "CHUNKFLOW_BLOCK_CACHE"
DEFAULT = 256 * 1024**2


def cache_size() -> int:
    """Bytes of the blocks of volumes that are kept for the boxes beside them.

    Raises ConfigError for a variable that is no size.
    """
    return bytes_in(VARIABLE, DEFAULT)
