"""Count the greys of each box, and write them to a folder as one JSON file per box.

    chunkflow ... plugin -f examples/plugins/histogram -i chunk -a "folder=/tmp/greys"

The files of boxes that do not overlap add up. It counts the chunk as it is: put it last in a chain, where no operator has asked
for more voxels than the box.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.storage.local_file import atomic_file


def execute(chunk: Chunk, folder: str, bins: int = 256, low: float = 0, high: float = 256) -> None:
    """bins: of equal width, from `low` to `high`; values outside are not counted, but those equal to `high` are in the last."""
    counts, edges = np.histogram(chunk.array, bins, (low, high))
    content = {
        "bbox": str(chunk.bbox),
        "voxels": chunk.array.size,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }
    with atomic_file(Path(folder) / f"{chunk.bbox}.json") as part:
        part.write_text(json.dumps(content))
