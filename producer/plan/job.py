"""`Plan`: a job before it is sent, made from the options of the user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.box_file import listed_boxes
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.local_job import check_job_name
from chunkflow_worker.job.masked import marks_of, masked
from chunkflow_worker.job.masks import Masks
from chunkflow_worker.job.order import PLAIN, Order
from chunkflow_worker.job.stages import split_stage
from chunkflow_worker.report.scrub import scrub
from producer.plan.pipeline_file import PipelineFile

_Options = TypeVar("_Options", Grid, Masks)
_STOPS = {"roi_stop", "roi_size", "bounding_box", "grid_size"}
_REPLACES = dict.fromkeys(_STOPS, _STOPS) | {
    "bounding_box": _STOPS | {"roi_start"},
    "roi_start": {"bounding_box"},
    "mask_volume_path": {"mask_mip", "mask_inverse"},
}
"""The options of the pipeline file that an option of the command line replaces, beside itself."""


@dataclass(frozen=True)
class Plan:
    """A job before it is sent.

    record: what the ledger will say about the job.
    empty: the number of boxes that were left out, since a mask is zero there.
    grid, mask: the options that make the boxes; those of the command line and of the pipeline file.
    """

    boxes: Boxes
    record: JobRecord
    empty: int
    grid: Grid
    mask: Masks


def make_plan(
    queue: str,
    job: str | None,
    grid: Grid,
    pipeline: PipelineFile | None = None,
    mask: Masks = Masks(),
    box_file: Path | None = None,
    order: Order = PLAIN,
) -> Plan:
    """Cut a region into the boxes of a job.

    job: the name of the job; made from the pipeline file's name and the time when not given.
    grid, mask: the options of the command line. Those that are set replace those in the pipeline
        file.
    box_file: lists the boxes to take; None for all. order: in which they will be sent.
    Raises ConfigError for a wrong option, job name or volume, and StorageUnavailable when the
    volume cannot be read.
    """
    now = datetime.now(UTC)
    job = job or _job_name(pipeline, now)
    check_job_name(job)
    if pipeline:
        grid, mask = _merged(pipeline, grid, mask)
    bounds = _bounds(grid)
    boxes = grid.boxes(bounds)
    _refuse_one_box(grid, bounds)
    boxes = masked(boxes, grid, mask)
    empty = boxes.last - boxes.first - len(boxes)
    if box_file is not None:
        boxes = listed_boxes(boxes, box_file, "chunkflow-producer enqueue", "--boxes")
    part = {"task_index_start": boxes.first, "task_index_stop": boxes.last}
    sent_at = now.isoformat(timespec="milliseconds")
    record = JobRecord(
        job=job,
        queue=queue,
        tasks=len(boxes),
        pipeline=pipeline.digest if pipeline else "",
        grid=_recorded(grid) | part,
        chosen=marks_of(boxes),
        bounds=str(bounds) if bounds else None,
        enqueued=sent_at,
        began=sent_at,
        order=order,
        stage=pipeline.stage.name if pipeline else "",
    )
    return Plan(boxes, record, empty, grid, mask)


def _recorded(grid: Grid) -> dict[str, Any]:
    """The options for the ledger, which more people may read than the volume."""
    options = grid.model_dump(mode="json", exclude_defaults=True)
    return {k: scrub(v) if isinstance(v, str) else v for k, v in options.items()}


def _job_name(pipeline: PipelineFile | None, now: datetime) -> str:
    file, stage = split_stage(pipeline.path) if pipeline else (Path(), "")
    stem = f"{file.stem}.{stage}" if stage else file.stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:60]
    return f"{plain or 'job'}-{now:%Y%m%dT%H%M%SZ}"


def _merged(pipeline: PipelineFile, grid: Grid, mask: Masks) -> tuple[Grid, Masks]:
    of_masks = {name: pipeline.tasks[name] for name in Masks.model_fields.keys() & pipeline.tasks}
    of_grid = {name: pipeline.tasks[name] for name in pipeline.tasks.keys() - of_masks}
    return _replaced(pipeline, of_grid, grid), _replaced(pipeline, of_masks, mask)


def _replaced(pipeline: PipelineFile, in_file: dict[str, Any], given: _Options) -> _Options:
    replaced = set().union(*(_REPLACES.get(name, set()) for name in given.model_fields_set))
    kept = {name: value for name, value in in_file.items() if name not in replaced}
    try:
        return type(given).model_validate(kept | given.model_dump(exclude_unset=True))
    except ValidationError as error:
        source = f"{pipeline.path} and the command line"
        raise ConfigError(source, faults_of(error, type(given), "tasks")) from None


def _refuse_one_box(grid: Grid, bounds: BoundingBox | None) -> None:
    """Raises ConfigError if a whole volume would be one box, which nobody asked for."""
    if bounds is None or grid.chunk_size or any(getattr(grid, name) for name in _STOPS):
        return
    size = " ".join(map(str, bounds.size))
    raise ConfigError.one(
        "grid",
        "chunk_size",
        f"is not given: all {bounds.voxels:,} voxels of {grid.volume_path} would be one task",
        f"give --chunk-size z y x, a multiple of the output's blocks; for one task, "
        f"--chunk-size {size}",
    )


def _bounds(grid: Grid) -> BoundingBox | None:
    if not grid.volume_path:
        return None
    from chunkflow_worker.volumes.open_volume import volume_bounds

    return volume_bounds(grid.volume_path, grid.mip or 0)
