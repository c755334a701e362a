"""Whether the boxes of a job fit the blocks of the volumes that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from math import lcm
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import BoxNotAligned, ConfigError, StorageUnavailable
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes

if TYPE_CHECKING:
    from chunkflow_worker.storage.precomputed_info import Level

_OTHER_BOXES = {"adjust-bbox", "downsample", "plugin"}
"""Operators behind which the box that is written need not be the task's."""


def refusal(boxes: Boxes, operators: Iterable[Mapping[str, Any]]) -> str | None:
    """Why workers are likely to refuse to write such boxes: they share blocks, or lie outside the output. None when they fit.

    Looks at a few boxes, and only at volumes that are there; what else is wrong with an operator is the workers' to tell.
    """
    from chunkflow_worker.storage.volume import check_aligned

    for level in _outputs(operators):
        for box in (boxes[0], boxes[len(boxes) // 2], boxes[-1]):
            inside = box.clip(level.bounds)
            if inside is None:
                return f"box {box} lies outside {level.path}, which is {level.bounds}"
            try:
                check_aligned(level, inside)
            except BoxNotAligned as error:
                return str(error)
    return None


def output_blocks(operators: Iterable[Mapping[str, Any]]) -> Vec3:
    """What the sizes of boxes must be multiples of, so that whole blocks of the volumes are written that are there."""
    sizes = [level.block_size for level in _outputs(operators)]
    return Vec3(*(lcm(*axis) for axis in zip(*sizes, strict=True))) if sizes else Vec3(1, 1, 1)


def _outputs(operators: Iterable[Mapping[str, Any]]) -> Iterator[Level]:
    """Levels of precomputed volumes that tasks' boxes are written to, of those that are there."""
    from chunkflow_worker.storage.precomputed_info import volume_level

    for operator in operators:
        if operator["op"] in _OTHER_BOXES:
            return
        path, mip = operator.get("volume_path"), operator.get("mip") or 0
        if operator["op"] == "save-precomputed" and isinstance(path, str) and isinstance(mip, int):
            with suppress(ConfigError, StorageUnavailable):
                yield volume_level(path, mip)
