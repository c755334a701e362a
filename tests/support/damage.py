"""Ways to damage the file of a block of raw float32 voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Damage = Callable[[Path], None]


def fill(value: float, count: int) -> Damage:
    """Set the first voxels to a value."""

    def change(voxels: bytearray) -> None:
        voxels[: 4 * count] = np.full(count, value, np.float32).tobytes()

    return lambda block: _rewrite(block, change)


def truncate(share: float) -> Damage:
    """Keep only the first part of the file."""

    def cut(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return lambda block: _rewrite(block, cut)


def _rewrite(block: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(block.read_bytes())
    change(content)
    block.write_bytes(content)
