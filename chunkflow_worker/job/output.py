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
    from chunkflow_worker.storage.precomputed_info import Level


def refusal(boxes: Sequence[BoundingBox], chain: Iterable[Configured]) -> str | None:
    """Why workers will refuse to write these boxes; None if they fit.

    Boxes must not share blocks, nor lie outside the output. Checks three of the boxes, and only
    volumes that exist: workers report other mistakes of a chain.
    """
    from chunkflow_worker.storage.volume import check_aligned

    for level in _output_levels(chain):
        for box in (boxes[0], boxes[len(boxes) // 2], boxes[-1]):
            inside = box.clip(level.bounds)
            if inside is None:
                return f"box {box} is outside {level.path}, which is {level.bounds}"
            try:
                check_aligned(level, inside)
            except BoxNotAligned as error:
                return str(error)
    return None


def absent_volumes(chain: Iterable[Configured]) -> Iterator[Fault]:
    """The volumes and mip levels that a chain reads or writes and that do not exist.

    Those that the chain creates itself are left out, and so are those that can't be looked at from
    here.
    """
    from chunkflow_worker.storage.files import Files
    from chunkflow_worker.storage.path import normal_path
    from chunkflow_worker.storage.precomputed_info import volume_level

    made: set[str] = set()
    for operator in chain:
        for output, volumes in ((False, operator.loads()), (True, operator.saves())):
            for volume in volumes:
                path = normal_path(volume.path)
                try:
                    if path not in made:
                        volume_level(path, volume.mip or 0, output)
                except ConfigError as error:
                    made.add(path)  # told once
                    use = "the output" if output else "the input"
                    for fault in error.faults:
                        yield Fault(f"{use} {path}", f"{fault.place}: {fault.problem}", fault.cure)
                except StorageUnavailable:
                    continue
        for path in map(normal_path, operator.others()):
            with suppress(StorageUnavailable):
                # It may also be a folder of meshes, which has an info of its own.
                if path not in made and Files(path).get_json("info") is None:
                    yield Fault(f"the volume {path}", "info: there is none here", "check the path")
        made.update(normal_path(path) for path in operator.creates())


def output_blocks(chain: Iterable[Configured]) -> Vec3:
    """The size, zyx, whose multiples are sizes of whole blocks in all output volumes that exist."""
    sizes = [level.block_size for level in _output_levels(chain)]
    return Vec3(*(lcm(*axis) for axis in zip(*sizes, strict=True))) if sizes else Vec3(1, 1, 1)


def _output_levels(chain: Iterable[Configured]) -> Iterator[Level]:
    """The levels of existing volumes that the tasks' own boxes are written to."""
    from chunkflow_worker.storage.precomputed_info import volume_level

    for operator in chain:
        if operator.facts.moves_box:
            return
        for volume in operator.saves():
            if volume.mip is not None:
                with suppress(ConfigError, StorageUnavailable):
                    yield volume_level(volume.path, volume.mip)
