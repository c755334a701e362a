"""`Absent`: blocks that are not stored, and that stand for voxels which the task wrote.

In Zarr and N5, a block that is not stored reads as the fill value. Programs that copy or rewrite an
array leave out the blocks that hold nothing else. So such a block is right if the record says that
the task wrote just that, and otherwise somebody has deleted it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.volumes.volume import CheckedVolume
    from producer.look.left_last import Part


class Absent:
    """The blocks of one part of a volume that are absent and right.

    volume: the same, with the fill value for absent blocks.
    found: those that were read.
    """

    def __init__(self, part: Part, volume: Callable[[], CheckedVolume]):
        self._part, self._volume = part, volume
        self.found: list[BoundingBox] = []

    def read(self, block: BoundingBox) -> NDArray[Any]:
        """The voxels of an absent block.

        Raises DataMissing unless the task wrote them, BlockDamaged and StorageUnavailable.
        """
        from chunkflow_worker.volumes.volume import checksum

        written = self._part.written
        has_meaning = written.driver and self._volume().fill_value is not None
        if has_meaning and written.blocks and not written.of_bytes:
            # Of several channels, some may be stored.
            voxels = self._volume().read(block)
            if checksum(voxels) == written.blocks.split()[self._part.blocks[block]]:
                self.found.append(block)
                return voxels
        raise DataMissing(f"{written.volume} lacks the block {block}")
