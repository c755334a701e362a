"""Bounds on what files ask for, checked before any memory is taken.

Files may come from strangers. What is unpacked as one piece (a block, a page, a strip, a picture)
has at most `largest_block` bytes; what is read at once fits twice in the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.largest_block import VARIABLE, largest_block
from chunkflow_worker.errors import DataRefused
from chunkflow_worker.machine.memory import usable_bytes

_TEXT = 64 * 1024**2
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def check_block(size: int, what: str) -> None:
    """Raise DataRefused if a piece that is unpacked as a whole is too large.

    size: bytes, uncompressed. what: the piece, for example "em.tif: a strip".
    """
    most = largest_block()
    if size > most:
        raise DataRefused(
            f"{what} has {bytes_text(size)} unpacked, and at most {bytes_text(most)} are taken\n"
            f"    if the file is right, set {VARIABLE}, for example to {-(-size // 1024**3)}GiB"
        )


def check_read(size: int, what: str) -> None:
    """Raise DataRefused if what is read at once takes more than half of the memory. size: bytes.

    Most readers have it twice for a moment.
    """
    most = usable_bytes() // 2
    if size > most:
        raise DataRefused(
            f"{what} has {bytes_text(size)}, and at most {bytes_text(most)} are read at once, half "
            "of the memory\n    read it in boxes, for example by " + operator_with("is_grid")
        )


def check_window(window: Sequence[slice], voxel_bytes: int, what: str) -> None:
    """The same for the voxels of a window. voxel_bytes: of all channels of one."""
    check_read(prod(part.stop - part.start for part in window) * voxel_bytes, what)


def check_text(size: int, what: str) -> None:
    """Raise DataRefused if a text that describes data is too large to be one. size: bytes."""
    if size > _TEXT:
        raise DataRefused(
            f"{what} has {bytes_text(size)}, and at most {bytes_text(_TEXT)} are read"
        )


def bytes_text(size: int) -> str:
    """For example 1.5 GiB."""
    amount, unit = float(min(size, 2**70)), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.4g} {_UNITS[unit]}" if unit else f"{size} bytes"
