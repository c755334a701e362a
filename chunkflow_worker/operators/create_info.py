"""create-info"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from chunkflow_worker.pipeline.volume_creator import VolumeCreator


class CreateInfo(VolumeCreator):
    """Create an empty volume, with one or more mip levels.

    The same as create-volume, by its name in chunkflow.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow create-info -v file://membranes -z 256 2048 2048 \
            -b 64 128 128 -s 40 4 4 -t image -d uint8
    """
    creates: ClassVar[tuple[str, ...]] = ("volume_path",)
    other_volumes: ClassVar[tuple[str, ...]] = ("like",)
    same_as: ClassVar[str] = "create-volume"
    renamed: ClassVar[Mapping[str, str]] = {
        "-l, --layer-path, --output-layer-path": "--volume-path",
        "-v Z Y X": "--volume-size Z Y X",
    }
    op: Literal["create-info"] = "create-info"
