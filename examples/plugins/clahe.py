"""Equalize the contrast of each section locally (CLAHE). Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/clahe -i chunk -o chunk -a "tile=128;clip_limit=0.02" --margin-size 0 128 128 ...

Tiles lie from the chunk's corner on and each section is first stretched by its own least and greatest grey in the chunk, so the
result depends on where boxes are cut. A margin of a tile, or boxes of a multiple of it, make that less visible.
"""

from __future__ import annotations

import numpy as np
from skimage.exposure import equalize_adapthist

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import Chunk, convert


def execute(chunk: Chunk, tile: int = 64, clip_limit: float = 0.01) -> Chunk:
    """tile: edge, in voxels, of the tiles with a histogram each. clip_limit: greatest share of a tile that one grey may hold."""
    if chunk.dtype != np.uint8:
        raise ChunkMismatch(f"clahe takes grey values of type uint8, not {chunk.dtype}")
    result = chunk.czyx.copy()
    for section in result.reshape(-1, *result.shape[-2:]):
        if section.min() < section.max():
            section[:] = convert(equalize_adapthist(section, tile, clip_limit), np.uint8)
    return chunk.with_array(result.reshape(chunk.array.shape))
