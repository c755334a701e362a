"""Equalize the contrast of each section locally (CLAHE).

Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/clahe -i chunk -o chunk \\
        -a "tile=128;clip_limit=0.02" --margin-size 0 128 128 ...

The result depends on where boxes are cut: the first tile begins at the chunk's corner, and each
section is first stretched between its own minimum and maximum in the chunk. A margin of one tile,
or boxes whose size is a multiple of the tile, make this less visible.
"""

from __future__ import annotations

import numpy as np
from skimage.exposure import equalize_adapthist

from chunkflow_worker.api import Chunk, ChunkMismatch, convert


def execute(chunk: Chunk, tile: int = 64, clip_limit: float = 0.01) -> Chunk:
    """Return the chunk (uint8) with its contrast equalized.

    tile: edge length of a tile in voxels; each tile has its own histogram.
    clip_limit: the largest share of a tile that one grey value may hold.
    """
    if chunk.dtype != np.uint8 or chunk.is_segmentation:
        kind = "a segmentation" if chunk.is_segmentation else chunk.dtype
        raise ChunkMismatch(f"clahe needs a uint8 image, not {kind}")
    result = chunk.czyx.copy()
    for section in result.reshape(-1, *result.shape[-2:]):
        if section.min() < section.max():
            section[:] = convert(equalize_adapthist(section, tile, clip_limit), np.uint8)
    return chunk.with_array(result.reshape(chunk.array.shape))
