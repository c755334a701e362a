"""Count the grey values of each box, and write them to a folder as one JSON file per box.

    chunkflow ... plugin -f examples/plugins/histogram -i chunk --output-path /tmp/greys/

The counts of boxes that do not overlap can be added up. The whole chunk is counted, with the
margins that later operators asked for. So put this plugin last in a chain.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from chunkflow_worker.api import Chunk, atomic_file


def execute(
    chunk: Chunk, output_path: str, bins: int = 256, low: float = 0, high: float = 256
) -> None:
    """Write `output_path/BOX.json`; since `atomic_file` writes it, verify can check it.

    bins: number of bins of equal width, from `low` to `high`. Values outside are not counted; a
        value equal to `high` belongs to the last bin.
    """
    counts, edges = np.histogram(chunk.array, bins, (low, high))
    content = {
        "bbox": str(chunk.bbox),
        "voxels": chunk.array.size,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }
    with atomic_file(Path(output_path) / f"{chunk.bbox}.json") as part:
        part.write_text(json.dumps(content))
