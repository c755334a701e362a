"""Turn a chunk of axes x, y, z into one of z, y, x, or the other way round, with its place and voxel size.

    chunkflow load-h5 -f made_elsewhere.h5 plugin -f examples/plugins/transpose -i chunk -o chunk save-h5 -f zyx.h5

For whole images: where boxes are cut, the task's box is not turned with the chunk.
"""

from __future__ import annotations

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk


def execute(chunk: Chunk) -> Chunk:
    bounds = chunk.bounds and BoundingBox(
        Vec3.of(chunk.bounds.start[::-1]), Vec3.of(chunk.bounds.stop[::-1])
    )
    return chunk.with_array(
        chunk.array.swapaxes(-1, -3).copy(),
        voxel_offset=Vec3.of(chunk.voxel_offset[::-1]),
        voxel_size=chunk.voxel_size[::-1],
        bounds=bounds,
    )
