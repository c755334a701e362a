"""Precomputed volumes in shards, written by tensorstore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import BoundingBox

_SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "minishard_bits": 1,
    "shard_bits": 2,
    "hash": "murmurhash3_x86_128",
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}


def write_sharded(
    folder: Path,
    array: NDArray[Any],
    offset: tuple[int, int, int],
    boxes: Sequence[BoundingBox] | None = None,
) -> str:
    """Write an array, zyx, as a volume of voxels of 40 x 8 x 8 nm in blocks of 8 x 16 x 16.

    offset: of its first voxel, zyx. boxes: the only blocks to store; all when not given.
    Returns the volume's path.
    """
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {
            "data_type": np.dtype(array.dtype).name,
            "num_channels": 1,
            "type": "image",
        },
        "scale_metadata": {
            "size": array.shape[::-1],
            "voxel_offset": offset[::-1],
            "resolution": [8, 8, 40],
            "encoding": "raw",
            "chunk_size": [16, 16, 8],
            "sharding": _SHARDING,
        },
    }
    store = tensorstore.open(spec, create=True).result()[..., 0]
    bounds = BoundingBox.sized(offset, array.shape)
    for box in [bounds] if boxes is None else boxes:
        window = box.slices((0, 0, 0))[::-1]
        store[window].write(array[box.slices(bounds.start)].transpose()).result()
    return f"file://{folder}"
