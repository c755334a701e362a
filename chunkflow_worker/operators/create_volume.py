"""create-volume"""

from __future__ import annotations

from typing import ClassVar, Literal

from chunkflow_worker.pipeline.volume_creator import VolumeCreator


class CreateVolume(VolumeCreator):
    """Create an empty volume with one or more mip levels: precomputed, OME-Zarr or N5.

    Options that are not given are taken from the chunk, if there is one. Otherwise the voxel size
    is 1 1 1 and the type is uint8. Integers of 32 and 64 bits make a segmentation unless
    --layer-type is given. An existing volume is kept if it is the same, and refused if it differs.
    In a chain that makes the chunk, the volume is created when the first chunk arrives, and a later
    save-volume in the same chain can write to it. Boxes of tasks must be made of whole shards, if
    there are shards, or else of whole blocks.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = r"""
        chunkflow create-volume -v zarr3://file://membranes.zarr -z 256 2048 2048 \
            -b 64 64 64 --shard-size 256 512 512 -s 40 4 4 -t image -d uint8
    """
    creates: ClassVar[tuple[str, ...]] = ("volume_path",)
    other_volumes: ClassVar[tuple[str, ...]] = ("like",)
    op: Literal["create-volume"] = "create-volume"
