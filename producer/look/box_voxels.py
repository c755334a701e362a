"""In which voxels the boxes of a chain are counted: those of the volume that it saves last."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.job.volumes import VolumeUse

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import VoxelSize
    from chunkflow_worker.job.volumes import Configured


def saved(chain: Iterable[Configured]) -> list[VolumeUse]:
    """The volumes that a chain saves, in order, each at the level of the boxes.

    So where an operator writes several levels, it is that of the chunk from which it makes them.
    """
    found, loaded_mip = list[VolumeUse](), 0
    for operator in chain:
        loaded_mip = next((use.mip or 0 for use in operator.loads()), loaded_mip)
        chunk_mip = operator.pyramid.get("chunk_mip")
        own = chunk_mip if isinstance(chunk_mip, int) else loaded_mip
        for use in operator.saves():
            found.append(VolumeUse(use.path, own if use.mip is None else use.mip))
    return found


def box_voxel_size(chain: Iterable[Configured]) -> VoxelSize | None:
    """In nanometres, zyx: that of the volume saved last, or if none is saved, of that loaded first.

    Opens the volume. Those that can't be opened are passed over; None if there is no other.
    """
    from chunkflow_worker.volumes.open_volume import open_volume

    operators = [*chain]
    loaded = (use for operator in operators for use in operator.loads())
    for use in (*reversed(saved(operators)), *loaded):
        with suppress(ChunkflowError):
            return open_volume(use.path, use.mip or 0).voxel_size
    return None
