"""The files of a block on a local disk, where its name may have the ending of a compression."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from chunkflow_worker.storage.files import ENDINGS, Packing


def remove_other_forms(block: Path, packing: Packing) -> None:
    """Remove the files that a block had before it was written, in another compression.

    block: name of the file without compression. packing: how the block was written now.
    """
    for other, ending in ENDINGS.items():
        if other != packing:
            _form(block, ending).unlink(missing_ok=True)


def has_both_forms(block: str) -> bool:
    """Whether a block is stored several times: readers may then disagree on its voxels.

    CloudVolume makes that of a plain block, since it writes *.gz by default and removes nothing.
    """
    return sum(_found(f"{block}{ending}") is not None for ending in ENDINGS.values()) > 1


def times_here(folder: Path, names: Iterable[str]) -> dict[str, datetime]:
    """When blocks were stored, by name, of those that are."""
    times = {}
    for name in names:
        forms = (_found(f"{folder}/{name}{ending}") for ending in ENDINGS.values())
        if first := next(filter(None, forms), None):
            times[name] = datetime.fromtimestamp(first.st_mtime, UTC)
    return times


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  # of a million files, in a third of the time
    except (FileNotFoundError, NotADirectoryError):
        return None


def _form(block: Path, ending: str) -> Path:
    return block.with_name(f"{block.name}{ending}")
