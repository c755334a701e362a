"""Which boxes belong to a job, by its record in the ledger; and whether they fit its output."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from math import lcm
from typing import TYPE_CHECKING, Any

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.errors import BoxNotAligned, BoxOutsideJob, ConfigError, StorageUnavailable
from chunkflow_worker.grid import Boxes, Grid
from chunkflow_worker.ledger import JobRecord, Ledger

if TYPE_CHECKING:
    from chunkflow_worker.storage.precomputed import Level

_OTHER_BOXES = {"adjust-bbox", "downsample", "plugin"}
"""Operators behind which the box that is written need not be the task's."""


def boxes_of(record: JobRecord) -> Boxes:
    """The boxes that a job was enqueued with. Raises ConfigError when this version can't read the record."""
    try:
        bounds = BoundingBox.parse(record.bounds) if record.bounds else None
        return Grid.model_validate(record.grid).boxes(bounds)
    except ValueError as error:
        raise ConfigError.one(f"job {record.job}", "grid", f"its record can't be read: {error}") from None


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
    from chunkflow_worker.storage.precomputed import volume_level

    for operator in operators:
        if operator["op"] in _OTHER_BOXES:
            return
        path, mip = operator.get("volume_path"), operator.get("mip") or 0
        if operator["op"] == "save-precomputed" and isinstance(path, str) and isinstance(mip, int):
            with suppress(ConfigError, StorageUnavailable):
                yield volume_level(path, mip)


class Jobs:
    """The jobs of a ledger, each read once."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._lock = threading.Lock()
        self._known: dict[str, Boxes | None] = {}

    def check(self, job: str, box: BoundingBox) -> None:
        """Raises BoxOutsideJob for a box that the job does not have, StorageUnavailable when the record can't be read.

        A job without a record, or with one that this version can't read, may have any box.
        """
        with self._lock:
            if job not in self._known:
                self._read(job)
            if self._has(job, box):
                return
            self._read(job)  # further parts of the job may have been sent since
            if not self._has(job, box):
                raise BoxOutsideJob(f"box {box} is not a box of job {job}")

    def _has(self, job: str, box: BoundingBox) -> bool:
        boxes = self._known[job]
        return boxes is None or box in boxes

    def _read(self, job: str) -> None:
        record = next((r for r in self._ledger.jobs() if r.job == job), None)
        boxes = None
        if record is not None and record.grid:
            with suppress(ConfigError):
                boxes = boxes_of(record)
        self._known[job] = boxes
