"""`all_needs`: what tasks read, compute and hold in memory, as data for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from chunkflow_worker.config.cache_size import cache_size
from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.estimate import Plannable
from chunkflow_worker.pipeline.needed_box import needed_box
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.volume import Volume

_Found = TypeVar("_Found")

Axis = list[tuple[int, int]]
"""For each place of a box along an axis: the first voxel, and that after the last one."""


@dataclass(frozen=True)
class Reads:
    """What an operator reads of a volume for the boxes at each place along z, y and x.

    Boxes count voxels of that mip. label: of the operator.
    """

    label: str
    path: str
    mip: int
    places: tuple[Axis, Axis, Axis]


@dataclass(frozen=True)
class Computes:
    """The patches of an operator, by the place of a box along z, y and x: their product counts.

    label: of the operator. patch_voxels: that the net returns for one patch.
    """

    label: str
    patches: tuple[list[int], list[int], list[int]]
    patch_voxels: int


@dataclass(frozen=True)
class Needs:
    """What a task takes. Sizes are bytes.

    chunk_size: of its box, zyx.
    task_bytes: memory of one task, without the process, its nets and the blocks that it keeps.
    further_bytes: memory of each further task in flight.
    cache_bytes: at most for blocks of inputs that are kept.
    """

    chunk_size: Vec3
    task_bytes: int
    further_bytes: int
    cache_bytes: int
    reads: tuple[Reads, ...]
    computes: tuple[Computes, ...]


def all_needs(
    chain: Pipeline, sizes: Iterable[Vec3], region: BoundingBox | None = None
) -> list[Needs]:
    """What tasks on boxes of each size take, when the boxes cut `region` from its start.

    region: one box at the origin when not given.
    Raises ChunkMismatch where the chain cannot produce a box of the region.
    """
    volumes = list(_volumes(chain))
    return [_needs(chain, size, region, volumes) for size in sizes]


def _needs(
    chain: Pipeline,
    size: Vec3,
    region: BoundingBox | None,
    volumes: Sequence[tuple[int, int, Volume]],
) -> Needs:
    axes = _axes(region or BoundingBox.sized((0, 0, 0), size), size)
    bounds = volumes[0][2].bounds if volumes else None
    reads = tuple(_reads(chain, axes, *found) for found in volumes)
    types = {name: v.dtype for i, _, v in volumes for name in chain.operators[i].writes()}
    task_bytes, further_bytes = memory_of(chain, size, types)
    return Needs(
        size,
        task_bytes,
        further_bytes,
        kept_bytes(chain),
        reads,
        tuple(_computes(chain, axes, bounds)),
    )


def kept_bytes(chain: Pipeline) -> int:
    """Memory for the blocks of inputs that are kept for the boxes beside them, at most."""
    return cache_size() if any(any(operator.loads()) for operator in chain.configured) else 0


def memory_of(
    chain: Pipeline, size: Vec3, types: dict[str, np.dtype[Any]] | None = None
) -> tuple[int, int]:
    """Bytes that one task on a box of `size` holds at its peak, and each further one in flight.

    types: of the values that are known; another is uint8 unless the options of its maker tell.
    """
    held: dict[str, int] = {}
    known = {name: dtype.name for name, dtype in (types or {}).items()}
    most, further = 0, 0
    for index, operator in enumerate(chain.operators):
        made_size = read_size(chain, index, size)
        image_type = next((known[n] for n in operator.reads() if n in known), "uint8")
        made_type = operator.output_type or image_type
        made = made_size.product * _itemsize(made_type)
        if isinstance(operator, Plannable):
            most = max(most, operator.task_bytes(made_size, image_type))
        inputs = sum(held.get(name, 0) for name in operator.reads())
        for name in operator.writes():
            known.setdefault(name, made_type)
            if operator.output_type:
                known[name] = made_type
            held[name] = made
        most = max(most, inputs + made if operator.writes() else inputs)
        further = max(further, sum(held.values()))
    return most, further


def read_size(chain: Pipeline, index: int, size: Vec3) -> Vec3:
    """Size of what an operator reads for a task's box of `size`."""
    before, after = chain.margins(index)
    return -(-size // chain.downsampling_factor(index)) + before + after


def _itemsize(name: str) -> int:
    try:
        return np.dtype(name).itemsize
    except TypeError:
        return 1


def _axes(region: BoundingBox, size: Vec3) -> tuple[Axis, Axis, Axis]:
    z, y, x = (
        [(n, min(n + step, stop)) for n in range(start, stop, step)]
        for start, stop, step in zip(region.start, region.stop, size, strict=True)
    )
    return z, y, x


def _volumes(chain: Pipeline) -> Iterator[tuple[int, int, Volume]]:
    """The volumes that the task's box is read from: index of the operator, mip, and volume."""
    made: set[str] = set()
    for index, operator in enumerate(chain.configured):
        for use in operator.loads():
            if use.path not in made:
                with suppress(ConfigError, StorageUnavailable):  # other checks tell
                    yield index, use.mip or 0, open_volume(use.path, use.mip or 0)
        made.update(operator.creates())


def _reads(
    chain: Pipeline, axes: tuple[Axis, Axis, Axis], index: int, mip: int, volume: Volume
) -> Reads:
    needed, bounds = needed_box(chain.operators, index), volume.bounds

    def read(box: BoundingBox) -> BoundingBox:
        inside = box.clip(bounds)
        if inside is None:
            return BoundingBox(box.start, box.start)
        return needed(inside, bounds).clip(bounds) or inside

    z, y, x = (
        [(made.start[axis], made.stop[axis]) for made in _each(axes, axis, bounds, read)]
        for axis in range(3)
    )
    path = next(chain.configured[index].loads()).path
    return Reads(chain.labels()[index], path, mip, (z, y, x))


def _computes(
    chain: Pipeline, axes: tuple[Axis, Axis, Axis], bounds: BoundingBox | None
) -> Iterator[Computes]:
    for index, operator in enumerate(chain.operators):
        if isinstance(operator, Plannable):
            count = _counter(chain.operators, index, operator, bounds)
            z, y, x = ([n[axis] for n in _each(axes, axis, bounds, count)] for axis in range(3))
            yield Computes(chain.labels()[index], (z, y, x), operator.patch_voxels())


def _counter(
    operators: tuple[Operator, ...], index: int, operator: Plannable, bounds: BoundingBox | None
) -> Callable[[BoundingBox], Vec3]:
    """Numbers of patches along the axes for a task's box; none for a box outside the image."""
    needed = needed_box(operators, index)
    reach = operators[index].output_bounds(bounds) if bounds else None

    def count(box: BoundingBox) -> Vec3:
        inside = box.clip(bounds) if bounds else box
        if inside is None:
            return Vec3(0, 0, 0)
        made = needed(inside, reach)
        return operator.patches((made.clip(reach) or made) if reach else made, bounds)

    return count


def _each(
    axes: tuple[Axis, Axis, Axis],
    axis: int,
    bounds: BoundingBox | None,
    of_box: Callable[[BoundingBox], _Found],
) -> Iterator[_Found]:
    """A result for each place along an axis; on the other axes, boxes lie in the middle."""
    middle = [_middle(places, bounds, n) for n, places in enumerate(axes)]

    def at(place: int) -> _Found:
        edges = [*middle[:axis], axes[axis][place], *middle[axis + 1 :]]
        starts, stops = zip(*edges, strict=True)
        return of_box(BoundingBox(Vec3(*starts), Vec3(*stops)))

    yield from map(at, range(len(axes[axis])))


def _middle(places: Axis, bounds: BoundingBox | None, axis: int) -> tuple[int, int]:
    """The place in the middle of those that touch the bounds."""
    if bounds is not None:
        low, high = bounds.start[axis], bounds.stop[axis]
        places = [place for place in places if place[0] < high and place[1] > low] or places
    return places[len(places) // 2]
