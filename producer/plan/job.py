"""From options to the boxes of a job, and the record of what was enqueued."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.ledger import JobRecord
from chunkflow_worker.job.message import JOB_NAME
from producer.plan.pipeline_file import PipelineFile

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger

_STOPS = {"roi_stop", "roi_size", "bounding_box", "grid_size"}
_REPLACES = dict.fromkeys(_STOPS, _STOPS) | {
    "bounding_box": _STOPS | {"roi_start"},
    "roi_start": {"bounding_box"},
}
"""Options that say the same in another way: on the command line, one takes the place of the others in the file."""


@dataclass(frozen=True)
class Plan:
    """A job before it is sent. `record`: what the ledger will know of it."""

    boxes: Boxes
    record: JobRecord


def make_plan(
    queue: str, job: str | None, options: Mapping[str, Any], pipeline: PipelineFile | None = None
) -> Plan:
    """Cut the region that `options` (from the command line) and the pipeline's ``tasks:`` describe.

    Raises ConfigError for faults of the options, of the job's name and of the volume.
    """
    now = datetime.now(UTC)
    job = job or _job_name(pipeline.path.stem if pipeline else "", now)
    if not re.fullmatch(JOB_NAME, job):
        raise ConfigError.one(
            "job", job, "is no job name", "up to 80 letters, digits, dots, hyphens and underscores"
        )
    grid = _grid(options, pipeline)
    bounds = _bounds(grid)
    boxes = grid.boxes(bounds)
    record = JobRecord(
        job=job,
        queue=queue,
        tasks=len(boxes),
        pipeline=pipeline.digest if pipeline else "",
        grid=grid.model_dump(mode="json", exclude_defaults=True) | _part(boxes.first, boxes.last),
        bounds=str(bounds) if bounds else None,
        enqueued=now.isoformat(timespec="milliseconds"),
        began=now.isoformat(timespec="milliseconds"),
    )
    return Plan(boxes, record)


def record_job(ledger: Ledger, record: JobRecord) -> bool:
    """Write the record of a job that is about to be sent; False when the ledger knew the job already.

    Parts of one job (other task indices of the same grid) may be sent one after the other: the record then covers all.
    Raises ConfigError when a job of this name has another grid or pipeline, or a part that does not adjoin.
    """
    known = {job.job: job for job in ledger.jobs()}.get(record.job)
    if known is not None:
        record = _joined(known, record)
    ledger.write_job(record)
    return known is None


def some_are_done(ledger: Ledger, boxes: Boxes, sample: int = 20) -> bool:
    """True when one of a few boxes, spread over the job, has a record of success already."""
    chosen = {len(boxes) * i // sample for i in range(sample)}
    return any(True for _ in ledger.records(str(boxes[i]) for i in sorted(chosen)))


def _job_name(stem: str, now: datetime) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:60]
    return f"{plain or 'job'}-{now:%Y%m%dT%H%M%SZ}"


def _grid(options: Mapping[str, Any], pipeline: PipelineFile | None) -> Grid:
    replaced = set().union(*(_REPLACES.get(name, set()) for name in options))
    kept = {k: v for k, v in pipeline.tasks.items() if k not in replaced} if pipeline else {}
    try:
        return Grid.model_validate(kept | dict(options))
    except ValidationError as error:
        source = f"{pipeline.path} and the command line" if pipeline else "command line"
        raise ConfigError(source, faults_of(error, Grid, "tasks")) from None


def _bounds(grid: Grid) -> BoundingBox | None:
    if not grid.volume_path:
        return None
    from chunkflow_worker.storage.precomputed_info import volume_bounds

    return volume_bounds(grid.volume_path, grid.mip or 0)


def _part(first: int, last: int) -> dict[str, int]:
    return {"task_index_start": first, "task_index_stop": last}


def _joined(known: JobRecord, new: JobRecord) -> JobRecord:
    def whole(record: JobRecord) -> tuple[Any, ...]:
        return (
            record.pipeline,
            record.bounds,
            {k: v for k, v in record.grid.items() if not k.startswith("task_index_")},
        )

    (first, last), (start, stop) = (
        (r.grid.get("task_index_start", 0), r.grid.get("task_index_stop", r.tasks))
        for r in (known, new)
    )
    if whole(known) != whole(new):
        problem = "is in the ledger already, with another grid or pipeline"
    elif start > last or stop < first:
        problem = f"is in the ledger already, with tasks {first} to {last}, which {start} to {stop} do not adjoin"
    else:
        first, last = min(first, start), max(last, stop)
        began = known.began or known.enqueued
        return new.model_copy(
            update={"tasks": last - first, "grid": new.grid | _part(first, last), "began": began}
        )
    raise ConfigError.one("job", new.job, problem, "choose another --job")
