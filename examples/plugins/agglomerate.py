"""Segment an affinity map by watershed and agglomeration, with waterz. Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow ... plugin -f examples/plugins/agglomerate -i affs -o seg -a "threshold=0.7" save-precomputed -i seg ...

Channels are affinities along x, y and z, each to the voxel before; those of z, y and x with flip_channel=False. Ids are those of
a box alone, and objects that leave the box are cut there: take boxes as large as your memory allows, or the whole volume.
"""

from __future__ import annotations

import numpy as np
from waterz import agglomerate

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import Chunk, convert

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
    """fragments: to agglomerate, instead of those of a watershed. threshold: of the score up to which regions are merged.

    aff_threshold_low, aff_threshold_high: voxels are never joined by an affinity below, and always above. scoring_function: of
    waterz; others than its mean and its quantiles are compiled when they are first used, which needs a C++ compiler.
    """
    if affinities.channels != 3:
        raise ChunkMismatch(
            f"agglomerate takes affinities of 3 channels, and got {affinities.channels}"
        )
    array = convert(affinities.array[::-1] if flip_channel else affinities.array, np.float32)
    if fragments is not None and fragments.bbox != affinities.bbox:
        raise ChunkMismatch(
            f"fragments {fragments.bbox} and affinities {affinities.bbox} are not of the same box"
        )
    ids = None if fragments is None else fragments.object_ids("fragments").astype(np.uint64)
    segmentations = agglomerate(
        np.ascontiguousarray(array),
        [threshold],
        fragments=ids,
        aff_threshold_low=aff_threshold_low,
        aff_threshold_high=aff_threshold_high,
        scoring_function=scoring_function,
    )
    return affinities.with_array(np.array(next(segmentations)), layer_type="segmentation")
