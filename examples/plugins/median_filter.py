"""Replace each voxel by the median of its neighbourhood.

Needs `pip install "chunkflow-worker[image]"`.

    chunkflow ... plugin -f examples/plugins/median_filter -i chunk -o chunk \\
        -a "size=(3,5,5)" --margin-size 1 2 2 ...

With half of the size as the margin, the result does not depend on where boxes are cut.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

from chunkflow_worker.api import Chunk, ChunkMismatch


def execute(chunk: Chunk, size: tuple[int, int, int] = (3, 1, 1), mode: str = "reflect") -> Chunk:
    """Return the filtered chunk, of the same type.

    size: of the neighbourhood, zyx, in voxels.
    mode: how the image continues beyond its border; one of scipy's modes.
    """
    if chunk.is_segmentation:
        raise ChunkMismatch("median_filter takes an image: the median of ids is no object's id")
    channels = [median_filter(channel, size, mode=mode) for channel in chunk.czyx]
    return chunk.with_array(np.stack(channels).reshape(chunk.array.shape))
