"""Block files of a precomputed volume on a local disk, where a crash can leave half a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from chunkflow_worker.storage.fence import before_write


@contextmanager
def staged_blocks(volume: Path, key: str) -> Iterator[Path]:
    """Yields a folder for a volume to write to; its blocks move to `volume` when the block ends.

    A process that is killed, or a full disk, would otherwise leave half a file that counts as a
    block.

    key: name of the folder of a mip level below the volume.
    """
    staging = volume / f".{uuid.uuid4().hex}.part"
    try:
        yield staging
        target = volume / key
        target.mkdir(parents=True, exist_ok=True)
        before_write()
        for file in (staging / key).iterdir():
            file.replace(target / file.name)
    finally:
        rmtree(staging, ignore_errors=True)


def remove_other_form(block: Path, compressed: bool) -> None:
    """Remove the file that a block had before it was written with gzip, or before without.

    block: name of the file without gzip; CloudVolume appends .gz with it.
    compressed: whether the block was written with gzip now, if its encoding gains by it.
    """
    gzipped = _gzipped(block)
    if not compressed:
        gzipped.unlink(missing_ok=True)
    elif gzipped.exists():
        block.unlink(missing_ok=True)


def has_both_forms(block: Path) -> bool:
    """Whether a block is stored with gzip and without: readers may then disagree on its voxels.

    CloudVolume makes that of a plain block, since it writes *.gz by default and removes nothing.
    """
    return _gzipped(block).exists() and block.exists()


def _gzipped(block: Path) -> Path:
    return block.with_name(f"{block.name}.gz")
