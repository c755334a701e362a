"""`BlockKeys`: names of the objects that hold the blocks of an array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from chunkflow_worker.image.bbox import Vec3

_PLACED = ("z", "y", "x")


class BlockKeys:
    """Names of the objects of one array, below its path.

    array: of tensorstore, with all its axes.
    axes: their names.
    time_point: which one is meant if there is an axis t.
    """

    def __init__(self, array: Any, axes: Sequence[str], time_point: int | None):
        self._spec, self._axes = array.spec().to_json(), tuple(axes)
        self._shape = tuple(map(int, array.shape))
        self._chunk = tuple(int(n or 1) for n in array.chunk_layout.write_chunk.shape)
        self._time = time_point or 0

    def of(self, place: Vec3) -> list[str]:
        """The objects of a block: one for each of its blocks of channels, if there are several.

        place: of the block in the grid of blocks, zyx.
        """
        known = dict(zip(_PLACED, place, strict=True))
        ranges = []
        for axis, size, chunk in zip(self._axes, self._shape, self._chunk, strict=True):
            at = known.get(axis, self._time // chunk if axis == "t" else 0)
            ranges.append(range(-(-size // chunk)) if axis == "c" else (at,))
        return [self._key(indices) for indices in product(*ranges)]

    def _key(self, indices: Sequence[int]) -> str:
        """The name in the format's own encoding."""
        parts, metadata = [*map(str, indices)], self._spec["metadata"]
        if self._spec["driver"] == "n5":
            return "/".join(parts)
        if self._spec["driver"] == "zarr":
            separator = self._spec.get("key_encoding") or metadata.get("dimension_separator")
            return str(separator or ".").join(parts)
        encoding = metadata["chunk_key_encoding"]
        is_default = encoding["name"] == "default"
        usual = "/" if is_default else "."
        separator = encoding.get("configuration", {}).get("separator", usual)
        return str(separator).join(["c", *parts] if is_default else parts)
