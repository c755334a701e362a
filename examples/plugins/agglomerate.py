"""Segment an affinity map, or a map of membranes, by watershed and agglomeration, with waterz.

Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/agglomerate -i affs -o seg -a "threshold=0.7" \\
        save-precomputed -i seg ...

Three channels are affinities along x, y and z, each to the voxel before. With flip_channel=False
their order is z, y, x. One channel is a map of membranes. Each box is segmented by itself: its ids
mean nothing in other boxes, and an object that leaves the box is cut there. To join the objects of
all boxes, use `unique-labels --link-by overlap` after it, as deploy/pipelines/neurons.yaml does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
    if affinities.channels not in (1, 3):
        raise ChunkMismatch(
            "agglomerate needs 3 channels of affinities, or one of membranes, not "
            f"{affinities.channels}"
        )
    if fragments is not None and fragments.bbox != affinities.bbox:
        raise ChunkMismatch(
            f"fragments {fragments.bbox} and affinities {affinities.bbox} cover different boxes"
        )
    array = convert(affinities.czyx, np.float32)
    if affinities.channels == 1:
        array = _affinities(array[0])
    elif flip_channel:
        array = array[::-1]
    names = ids = None
    if fragments is not None:
        # waterz needs memory for every number up to the largest id.
        unsigned = fragments.as_dtype(np.uint64).object_ids("fragments")
        names, places = np.unique(np.append(np.uint64(0), unsigned), return_inverse=True)
        ids = places[1:].reshape(unsigned.shape).astype(np.uint64)
    segmentations = agglomerate(
        np.ascontiguousarray(array),
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


def _affinities(membranes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Affinities along z, y and x: 1 where neither voxel is a membrane. membranes: zyx, 0 to 1."""
    found = np.zeros((3, *membranes.shape), np.float32)
    for axis in range(3):
        here, before = (slice(1, None), slice(None, -1))
        ahead, behind = (np.moveaxis(membranes, axis, 0)[part] for part in (here, before))
        np.moveaxis(found[axis], axis, 0)[here] = 1 - np.maximum(ahead, behind)
    return found
