"""The files of a block on a local disk, where its name may have the ending of a compression."""

from __future__ import annotations

from pathlib import Path

from chunkflow_worker.storage.files import ENDINGS, Packing


def remove_other_forms(block: Path, packing: Packing) -> None:
    """Remove the files that a block had before it was written, in another compression.

    block: name of the file without compression. packing: how the block was written now.
    """
    for other, ending in ENDINGS.items():
        if other != packing:
            _form(block, ending).unlink(missing_ok=True)


def has_both_forms(block: Path) -> bool:
    """Whether a block is stored several times: readers may then disagree on its voxels.

    CloudVolume makes that of a plain block, since it writes *.gz by default and removes nothing.
    """
    return sum(_form(block, ending).exists() for ending in ENDINGS.values()) > 1


def _form(block: Path, ending: str) -> Path:
    return block.with_name(f"{block.name}{ending}")
