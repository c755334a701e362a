"""Find the peaks of a probability map, T-bars or cell bodies for example. Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/detect_points -i map,bbox -o tbars --margin-size 15 15 15 save-points -i tbars ...
    chunkflow ... plugin -f examples/plugins/detect_points -i map,bbox -o syns -a "synapses=True" ... save-synapses ...

With min_distance as margin, and `bbox` among the inputs, each peak is found once, in the box that it lies in, wherever boxes are
cut.
"""

from __future__ import annotations

import numpy as np
from skimage.feature import peak_local_max

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk, convert
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses


def execute(
    probability: Chunk,
    bbox: BoundingBox | None = None,
    min_distance: int = 15,
    threshold: float = 0.3,
    synapses: bool = False,
) -> Points | Synapses:
    """bbox: where to keep peaks, everywhere when None. min_distance: of two peaks along an axis, in voxels.

    threshold: least probability of a peak; uint8 maps hold it as 0 to 255. synapses: make presynaptic sites with confidences.
    """
    if probability.channels != 1:
        raise ChunkMismatch(
            f"detect_points takes a map of one channel, and got {probability.channels}"
        )
    array = convert(probability.czyx[0], np.float32)
    found = peak_local_max(
        array, min_distance, threshold, exclude_border=False, p_norm=np.inf
    ).astype(np.int32)
    found = found[np.lexsort(found.T[::-1])]
    points, heights = found + np.array(probability.voxel_offset, np.int32), array[tuple(found.T)]
    if bbox is not None:
        inside = ((points >= bbox.start) & (points < bbox.stop)).all(axis=1)
        points, heights = points[inside], heights[inside]
    if not synapses:
        return Points(points, probability.voxel_size)
    none = Synapses.empty()
    return Synapses(
        points, none.post, none.parents, pre_confidence=heights, voxel_size=probability.voxel_size
    )
