"""Map values linearly from one range to another. Values outside the range saturate.

    chunkflow ... plugin -f examples/plugins/rescale -i chunk -o chunk -a ARGS ...

Some ARGS:

    "low=30;high=200"             stretch the greys from 30 to 200
    "new_low=255;new_high=0"      invert
    "low=-1;high=1;new_high=1"    map -1 to 1 onto 0 to 1
"""

from __future__ import annotations

import numpy as np

from chunkflow_worker.api import Chunk, ChunkMismatch


def execute(
    chunk: Chunk, low: float = 0, high: float = 255, new_low: float = 0, new_high: float = 255
) -> Chunk:
    """Return the rescaled chunk, of the same type. Integers are rounded to the nearest."""
    if chunk.is_segmentation:
        raise ChunkMismatch("rescale takes an image, and this is a segmentation")
    array = np.interp(chunk.array, (low, high), (new_low, new_high))
    if chunk.dtype.kind in "ui":
        limits = np.iinfo(chunk.dtype)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return chunk.with_array(array.astype(chunk.dtype))
