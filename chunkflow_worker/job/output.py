"""Whether workers can do a job: its volumes are there, and its boxes fit the blocks it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from math import lcm
from typing import TYPE_CHECKING

from chunkflow_worker.errors import BoxNotAligned, ConfigError, Fault, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.volumes import Configured

if TYPE_CHECKING:
    from chunkflow_worker.volumes.volume import Blocks

_SAME = Vec3(1, 1, 1)


def refusal(boxes: Sequence[BoundingBox], chain: Iterable[Configured]) -> str | None:
    """Why workers will refuse to write these boxes; None if they fit.

    Boxes must not share blocks, nor lie outside the output. Checks three of the boxes, and only
    volumes that exist: workers report other mistakes of a chain.
    """
    from chunkflow_worker.volumes.volume import check_aligned

    for factor, level in output_levels(chain):
        for box in (boxes[0], boxes[len(boxes) // 2], boxes[-1]):
            inside = box.downsample(factor).clip(level.bounds)
            if inside is None:
                return f"box {box} is outside {level.path}, which is {level.bounds}"
            try:
                check_aligned(level, inside)
            except BoxNotAligned as error:
                if factor == _SAME:
                    return str(error)
                return (
                    f"box {box} would share blocks of the level that is {list(factor)} times as "
                    f"coarse with its neighbours in {level.path}; chunk sizes must be multiples of "
                    f"{list(level.block_size * factor)}"
                )
    return None


def absent_volumes(chain: Iterable[Configured]) -> Iterator[Fault]:
    """The volumes and mip levels that a chain reads or writes and that do not exist.

    Those that the chain creates itself are left out, and so are those that can't be looked at from
    here.
    """
    from chunkflow_worker.storage.path import normal_path
    from chunkflow_worker.volumes.open_volume import volume_level

    made: set[str] = set()
    for operator in chain:
        saved = () if operator.facts.creates_output else operator.saves()
        for output, volumes in ((False, operator.loads()), (True, saved)):
            for volume in volumes:
                path = normal_path(volume.path)
                try:
                    if path not in made:
                        volume_level(volume.path, volume.mip or 0, output=output)
                except ConfigError as error:
                    made.add(path)  # told once
                    use = "the output" if output else "the input"
                    for fault in error.faults:
                        yield Fault(f"{use} {path}", f"{fault.place}: {fault.problem}", fault.cure)
                except StorageUnavailable:
                    continue
        for address in operator.others():
            path = normal_path(address)
            with suppress(StorageUnavailable):
                if path not in made and not _is_there(address):
                    yield Fault(f"the volume {path}", "there is none here", "check the path")
        made.update(normal_path(path) for path in operator.creates())


def _is_there(address: str) -> bool:
    """Whether there is a volume, or a folder of meshes, which has an info of its own, too."""
    from chunkflow_worker.storage.files import Files
    from chunkflow_worker.volumes.open_volume import volume_level

    if Files(address).get_json("info") is not None:
        return True
    try:
        volume_level(address)
    except ConfigError:
        return False
    return True


def output_blocks(chain: Iterable[Configured]) -> Vec3:
    """The size, zyx, whose multiples are sizes of whole blocks in all output volumes that exist."""
    sizes = [level.block_size * factor for factor, level in output_levels(chain)]
    return Vec3(*(lcm(*axis) for axis in zip(*sizes, strict=True))) if sizes else Vec3(1, 1, 1)


def output_objects(chain: Iterable[Configured]) -> Iterator[tuple[str, int, int]]:
    """The volumes that tasks write to and that exist: the path of each level, and its objects.

    Numbers of objects: as it is stored, and as it would be without shards.
    """
    from chunkflow_worker.volumes.volume import count_objects

    for _, level in output_levels(chain):
        objects = count_objects(level, level.block_size)
        yield level.path, objects, count_objects(level, level.chunk_size)


def output_levels(chain: Iterable[Configured]) -> Iterator[tuple[Vec3, Blocks]]:
    """The levels of existing volumes that the tasks' own boxes are written to.

    Each with the number of times that its voxels are larger than those of the boxes.
    """
    from chunkflow_worker.volumes.open_volume import volume_level

    mip = 0  # of the boxes
    for operator in chain:
        if operator.facts.moves_box:
            return
        mip = next((volume.mip or 0 for volume in operator.loads()), mip)
        for volume in operator.saves():
            # Workers report other mistakes, also of the options.
            with suppress(ConfigError, StorageUnavailable, TypeError, ValueError, LookupError):
                if volume.mip is not None:
                    yield _SAME, volume_level(volume.path, volume.mip)
                elif operator.facts.pyramid:
                    yield from _coarser_levels(operator, volume.path, mip)


def _coarser_levels(operator: Configured, path: str, box_mip: int) -> Iterator[tuple[Vec3, Blocks]]:
    """The levels that an operator makes of its chunk; the volume may lack some, and gets them."""
    from chunkflow_worker.volumes.levels import levels_of

    option = operator.pyramid
    factor, stop = Vec3.of(option["factor"]), option["stop_mip"]
    mip = box_mip if option["chunk_mip"] is None else option["chunk_mip"]
    start = mip + 1 if option["start_mip"] is None else option["start_mip"]
    levels = levels_of(path, factor, stop)
    for n in range(start, stop):
        yield factor.power(n - mip), levels.level(n)
