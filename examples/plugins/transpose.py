"""Turn a chunk with the axes x, y, z into one with z, y, x, or the other way round.

    chunkflow load-h5 -f made_elsewhere.h5 \\
        plugin -f examples/plugins/transpose -i chunk -o chunk save-h5 -f zyx.h5

The chunk's offset and voxel size are turned too, but the task's box is not. So use it on whole
images, not on the boxes of a volume.
"""

from __future__ import annotations

from chunkflow_worker.api import BoundingBox, Chunk, Vec3


def execute(chunk: Chunk) -> Chunk:
    """Return the chunk with its spatial axes reversed; channels stay first."""
    bounds = chunk.bounds and BoundingBox(
        Vec3.of(chunk.bounds.start[::-1]), Vec3.of(chunk.bounds.stop[::-1])
    )
    return chunk.with_array(
        chunk.array.swapaxes(-1, -3).copy(),
        voxel_offset=Vec3.of(chunk.voxel_offset[::-1]),
        voxel_size=chunk.voxel_size[::-1],
        bounds=bounds,
    )
