"""save-precomputed"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.pipeline.volume_writer import VolumeWriter


class SavePrecomputed(VolumeWriter):
    """Write a chunk to an existing volume, and check that it is stored.

    The same as save-volume, by its name in chunkflow.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            threshold -t 99 \
            save-precomputed -v file://mask
    """
    differs: ClassVar[str] = (
        "chunkflow let float values wrap around, also scaled the chunk in memory, and deleted "
        "black blocks. A margin that is left around the task's box is cut off."
    )
    saves: ClassVar[VolumeOptions] = {"volume_path": "mip"}
    same_as: ClassVar[str] = "save-volume"
    formerly: ClassVar[tuple[str, ...]] = ("save", "write-precomputed")
    renamed: ClassVar[Mapping[str, str]] = {
        "--nproc": "--parallel",
    }
    replaces: ClassVar[Mapping[str, str]] = {
        "upload-log": "give `--upload-log` to `save-precomputed`",
        "create-thumbnail": "give `--create-thumbnail` to `save-precomputed`",
    }
    op: Literal["save-precomputed"] = "save-precomputed"
