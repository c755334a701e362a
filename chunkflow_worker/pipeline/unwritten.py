"""`note_unwritten`: what a task that is skipped leaves unwritten, noted for its record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isclose

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.job.record import Written
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.pipeline.needed_box import input_voxel_sizes
from chunkflow_worker.pipeline.noted import own_names
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.path import normal_path


def note_unwritten(
    task: Task, operators: Sequence[Operator], labels: Sequence[str], start: int, empty: bool
) -> None:
    """Note what the operators from `start` on would have written.

    operators, labels: of the whole chain.
    empty: the result is empty, so these places must be empty too. Otherwise, and for operators
        whose places are not known, only their labels are noted.
    Raises StorageUnavailable.
    """
    box = task.bbox if empty else None
    known = task  # to name files by
    chain = zip(operators, labels, input_voxel_sizes(tuple(operators)), strict=True)
    for operator, label, factor in list(chain)[start:]:
        names = own_names(operator, known, box) if box else []
        task.no_files += names
        if operator.results():
            places = _places(operator, task, box, factor) if box else None
            task.written += places or []
            if places is None and not names:
                task.unchecked.append(label)
        elif operator.may_write_unseen:
            task.unseen.append(label)
        if operator.downsampling_factor != Vec3(1, 1, 1):
            known = replace(known, values={})  # those after it read other voxels
        box = operator.box_after(box) if box else None


def _places(operator: Operator, task: Task, box: BoundingBox, factor: Vec3) -> list[Written] | None:
    """The places in volumes that an operator would have written; None if they are not known.

    box: of the task, when the operator would have run.
    factor: how many times larger the voxels that it reads are than the task's, as the chain says.
    """
    if left := operator.left_empty(box.downsample(factor)):
        return list(left)
    if not operator.results() <= {*operator.saves}:
        return None
    configured = Configured(type(operator), dict(operator))
    places = []
    for use in configured.saves():
        path = normal_path(use.path)
        sizes = _voxel_sizes(path, configured)
        mips = _coarser_mips(configured, task, factor, sizes) if use.mip is None else [use.mip]
        for mip in mips:
            if task.voxel_size is not None and mip < len(sizes):
                place = task.in_voxels_of(sizes[mip], box)
            else:
                place = box.downsample(factor) if use.mip is not None else None
            if place is None:
                return None
            places.append(Written(path, mip, str(place), empty=True))
    return places or None


def _voxel_sizes(path: str, operator: Configured) -> list[VoxelSize]:
    """The voxel size of each level of a volume, with those that the operator would add.

    None of a volume that is not there yet, or whose info is wrong.
    """
    from chunkflow_worker.volumes.levels import levels_of

    pyramid = operator.pyramid or {"factor": 1, "stop_mip": 0}
    try:
        levels = levels_of(path, Vec3.of(pyramid["factor"]), pyramid["stop_mip"], output=True)
        return [levels.level(mip).voxel_size for mip in range(levels.count)]
    except (ConfigError, LookupError, TypeError, ValueError):  # also of a level that is wrong
        return []


def _coarser_mips(
    operator: Configured, task: Task, factor: Vec3, sizes: Sequence[VoxelSize]
) -> Iterable[int]:
    """The mips that an operator makes of its chunk; none if that of the chunk is not known."""
    pyramid, mip = operator.pyramid, operator.pyramid.get("chunk_mip")
    if mip is None and task.voxel_size is not None:
        size = [n * f for n, f in zip(task.voxel_size, factor, strict=True)]
        mip = next((n for n, own in enumerate(sizes) if all(map(isclose, own, size))), None)
    if mip is None or not pyramid:
        return ()
    first = pyramid["start_mip"]
    return range(mip + 1 if first is None else first, pyramid["stop_mip"])
