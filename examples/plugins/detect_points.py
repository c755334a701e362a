"""Find the peaks of a probability map, for example T-bars or cell bodies.

Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/detect_points -i map,bbox -o tbars \\
        --margin-size 15 15 15 save-points -i tbars ...
    chunkflow ... plugin -f examples/plugins/detect_points -i map,bbox -o syns \\
        -a "synapses=True" --margin-size 15 15 15 save-synapses -i syns ...

With `bbox` among the inputs, and min_distance as the margin, each peak is found exactly once, in
the box that contains it, wherever boxes are cut.
"""

from __future__ import annotations

import numpy as np
from skimage.feature import peak_local_max

from chunkflow_worker.api import BoundingBox, Chunk, ChunkMismatch, Points, Synapses, convert


def execute(
    probability: Chunk,
    bbox: BoundingBox | None = None,
    min_distance: int = 15,
    threshold: float = 0.3,
    synapses: bool = False,
) -> Points | Synapses:
    """Return the peaks, as points or as presynaptic sites.

    bbox: keep only the peaks inside this box; None keeps all.
    min_distance: smallest distance between two peaks along an axis, in voxels.
    threshold: smallest probability of a peak, from 0 to 1. A uint8 map holds 0 to 1 as 0 to 255.
    synapses: return presynaptic sites with their probabilities as confidences.
    """
    if probability.channels != 1:
        raise ChunkMismatch(f"detect_points needs a map of 1 channel, not {probability.channels}")
    array = convert(probability.czyx[0], np.float32)
    found = peak_local_max(array, min_distance, threshold, exclude_border=False, p_norm=np.inf)
    places = found[np.lexsort(found.T[::-1])].astype(np.int32)
    heights = array[tuple(places.T)]
    points = places + np.array(probability.voxel_offset, np.int32)
    if bbox is not None:
        inside = ((points >= bbox.start) & (points < bbox.stop)).all(axis=1)
        points, heights = points[inside], heights[inside]
    if not synapses:
        return Points(points, probability.voxel_size)
    none = Synapses.empty()
    return Synapses(
        points, none.post, none.parents, pre_confidence=heights, voxel_size=probability.voxel_size
    )
