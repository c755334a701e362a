"""The box that an operator must produce, so that all later operators have what they need. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator


def needed_box(
    operators: tuple[Operator, ...], index: int
) -> Callable[[BoundingBox, BoundingBox | None], BoundingBox]:
    """For the operator at `index`: the function that `Run` describes."""
    sizes = list(input_voxel_sizes(operators))
    own = sizes[index] * operators[index].downsampling_factor
    # An operator that reads smaller voxels does not read the output of this one.
    later = [
        (operator, size // own)
        for operator, size in zip(operators[index + 1 :], sizes[index + 1 :], strict=True)
        if not any(size % own)
    ]

    def needed(box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        limits = [bounds]
        for operator, factor in later:
            limits.append(_output_bounds(operator, limits[-1], factor) if limits[-1] else None)
        inside, reachable = box.clip(bounds) if bounds else None, limits[-1]
        if inside is not None and reachable is not None and not reachable.contains(inside):
            raise ChunkMismatch(
                f"box {box} reaches the border of {bounds}, where nets that return less than they "
                f"take can produce {reachable} only: stay away from the border, or use "
                "--border reflect"
            )
        for (operator, factor), limit in zip(reversed(later), reversed(limits[:-1]), strict=True):
            box = _input_box(operator, box, limit, factor)
        return box

    return needed


def input_voxel_sizes(operators: tuple[Operator, ...]) -> Iterator[Vec3]:
    """For each operator: how many times larger the voxels that it reads are than the task's."""
    made: dict[str, Vec3] = {}
    for operator in operators:
        read = max((made[name] for name in operator.reads() if name in made), default=Vec3(1, 1, 1))
        yield read
        made.update(dict.fromkeys(operator.writes(), read * operator.downsampling_factor))


def _output_bounds(operator: Operator, bounds: BoundingBox, factor: Vec3) -> BoundingBox:
    """`operator.output_bounds`, if its voxels are `factor` times larger than those of `bounds`."""
    largest = operator.output_bounds(bounds.downsample(factor)).upsample(factor)
    return largest.clip(bounds) or largest


def _input_box(
    operator: Operator, box: BoundingBox, bounds: BoundingBox | None, factor: Vec3
) -> BoundingBox:
    """`operator.input_box`, if its voxels are `factor` times larger than those of `box`."""
    if bounds is None:
        return operator.input_box(box.downsample(factor), None).upsample(factor)
    needed = operator.input_box(box.downsample(factor), bounds.downsample(factor)).upsample(factor)
    return needed.clip(bounds) or needed
