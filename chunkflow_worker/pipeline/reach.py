"""How far an operator must read and produce around a task's box, given all the operators behind it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator


def needed_box(
    operators: tuple[Operator, ...], index: int
) -> Callable[[BoundingBox, BoundingBox | None], BoundingBox]:
    """What the operator at `index` must produce; see `Run`."""
    sizes = list(voxel_sizes(operators))
    own = sizes[index] * operators[index].coarsening
    # Those that work on smaller voxels are not fed by this one.
    later = [
        (operator, size // own)
        for operator, size in zip(operators[index + 1 :], sizes[index + 1 :], strict=True)
        if not any(size % own)
    ]

    def needed(box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        limits = [bounds]
        for operator, factor in later:
            limits.append(_output_bounds(operator, limits[-1], factor) if limits[-1] else None)
        inside, reach = box.clip(bounds) if bounds else None, limits[-1]
        if inside is not None and reach is not None and not reach.contains(inside):
            raise ChunkMismatch(
                f"box {box} reaches the border of {bounds}, where nets that return less than they take can produce {reach} only: "
                "stay away from the border, or use --border reflect"
            )
        for (operator, factor), limit in zip(reversed(later), reversed(limits[:-1]), strict=True):
            box = _context(operator, box, limit, factor)
        return box

    return needed


def voxel_sizes(operators: tuple[Operator, ...]) -> Iterator[Vec3]:
    """How many times larger the voxels that each operator reads are than those of the task's box."""
    made: dict[str, Vec3] = {}
    for operator in operators:
        read = max((made[name] for name in operator.reads() if name in made), default=Vec3(1, 1, 1))
        yield read
        made.update(dict.fromkeys(operator.writes(), read * operator.coarsening))


def _output_bounds(operator: Operator, bounds: BoundingBox, factor: Vec3) -> BoundingBox:
    """Its `output_bounds`, where it reads voxels `factor` times larger than those that are counted."""
    reach = operator.output_bounds(bounds.downsample(factor)).upsample(factor)
    return reach.clip(bounds) or reach


def _context(
    operator: Operator, box: BoundingBox, bounds: BoundingBox | None, factor: Vec3
) -> BoundingBox:
    """Its `context`, where it reads voxels `factor` times larger than those that are counted."""
    if bounds is None:
        return operator.context(box.downsample(factor), None).upsample(factor)
    needed = operator.context(box.downsample(factor), bounds.downsample(factor)).upsample(factor)
    return needed.clip(bounds) or needed
