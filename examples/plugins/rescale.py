"""Map values linearly from one range to another; what lies outside saturates.

chunkflow ... plugin -f examples/plugins/rescale -i chunk -o chunk -a "low=30;high=200" ...           # stretch greys
chunkflow ... plugin -f examples/plugins/rescale -i chunk -o chunk -a "new_low=255;new_high=0" ...    # invert
chunkflow ... plugin -f examples/plugins/rescale -i chunk -o chunk -a "low=-1;high=1;new_high=1" ...  # -1 to 1 becomes 0 to 1
"""

from __future__ import annotations

import numpy as np

from chunkflow_worker.image.chunk import Chunk


def execute(
    chunk: Chunk, low: float = 0, high: float = 255, new_low: float = 0, new_high: float = 255
) -> Chunk:
    """The type stays; whole numbers round to the nearest."""
    array = np.interp(chunk.array, (low, high), (new_low, new_high))
    return chunk.with_array(
        (np.rint(array) if chunk.dtype.kind in "ui" else array).astype(chunk.dtype)
    )
