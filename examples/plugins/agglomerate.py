"""Segment an affinity map by watershed and agglomeration, with waterz.

Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/agglomerate -i affs -o seg -a "threshold=0.7" \\
        save-precomputed -i seg ...

The channels are affinities along x, y and z, each to the voxel before. With flip_channel=False
their order is z, y, x. Each box is segmented by itself: its ids mean nothing in other boxes, and
an object that leaves the box is cut there. Use boxes as large as your memory allows, or the whole
volume.
"""

from __future__ import annotations

import numpy as np
from waterz import agglomerate

from chunkflow_worker.api import Chunk, ChunkMismatch, convert

MEAN_AFFINITY = "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"


def execute(
    affinities: Chunk,
    fragments: Chunk | None = None,
    threshold: float = 0.7,
    aff_threshold_low: float = 0.001,
    aff_threshold_high: float = 0.9999,
    scoring_function: str = MEAN_AFFINITY,
    flip_channel: bool = True,
) -> Chunk:
    """Return a segmentation (uint64) of the box of the affinities.

    fragments: regions to merge, with ids from 0 on; by default a watershed makes them. A merged
        region has the id of one of them.
    threshold: regions are merged up to this score.
    aff_threshold_low, aff_threshold_high: an affinity below the first never joins two voxels; one
        above the second always does.
    scoring_function: a scoring function of waterz. waterz compiles it on first use, which needs a
        C++ compiler, unless it is the mean or a quantile.
    flip_channel: the channels are x, y, z, not z, y, x.
    """
    if affinities.channels != 3:
        raise ChunkMismatch(
            f"agglomerate needs 3 channels of affinities, not {affinities.channels}"
        )
    if fragments is not None and fragments.bbox != affinities.bbox:
        raise ChunkMismatch(
            f"fragments {fragments.bbox} and affinities {affinities.bbox} cover different boxes"
        )
    array = affinities.array[::-1] if flip_channel else affinities.array
    names = ids = None
    if fragments is not None:
        # waterz needs memory for every number up to the largest id.
        unsigned = fragments.as_dtype(np.uint64).object_ids("fragments")
        names, places = np.unique(np.append(np.uint64(0), unsigned), return_inverse=True)
        ids = places[1:].reshape(unsigned.shape).astype(np.uint64)
    segmentations = agglomerate(
        np.ascontiguousarray(convert(array, np.float32)),
        [threshold],
        fragments=ids,
        aff_threshold_low=aff_threshold_low,
        aff_threshold_high=aff_threshold_high,
        scoring_function=scoring_function,
    )
    objects = np.array(next(segmentations))
    return affinities.with_array(
        objects if names is None else names[objects], layer_type="segmentation"
    )
