"""save-volume"""

from __future__ import annotations

from typing import ClassVar, Literal

from chunkflow_worker.config.facts import VolumeOptions
from chunkflow_worker.pipeline.volume_writer import VolumeWriter


class SaveVolume(VolumeWriter):
    """Write a chunk to an existing volume of any format, and check that it is stored.

    Whole blocks are written. Values are converted to the volume's type: float values from 0 to 1
    become 0 to 255 for uint8; all other values saturate and never wrap around. Ids that the type
    does not hold are refused. A box that would share a block with a neighbour is refused, unless it
    ends where the volume ends. A chunk is also refused if its voxel size differs from the volume's,
    or if it holds object ids and the volume is an image.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-volume -v file://em \
            threshold -t 99 \
            save-volume -v file://mask.zarr
    """
    saves: ClassVar[VolumeOptions] = {"volume_path": "mip"}
    op: Literal["save-volume"] = "save-volume"
