"""Ways to damage the file of a block: a gzip file of raw float32 voxels."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

Damage = Callable[[Path], None]


def fill(value: float, count: int) -> Damage:
    """Set the first voxels to a value."""

    def change(voxels: bytearray) -> None:
        voxels[: 4 * count] = np.full(count, value, np.float32).tobytes()

    return lambda block: _rewrite(block, change)


def truncate(share: float, inside: bool = False) -> Damage:
    """Keep only the first part of the file; or of the voxels inside it, in a valid gzip file."""

    def cut(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    def damage(block: Path) -> None:
        if inside:
            _rewrite(block, cut)
        else:
            content = bytearray(block.read_bytes())
            cut(content)
            block.write_bytes(content)

    return damage


def _rewrite(block: Path, change: Callable[[bytearray], None]) -> None:
    voxels = bytearray(gzip.decompress(block.read_bytes()))
    change(voxels)
    block.write_bytes(gzip.compress(voxels))
