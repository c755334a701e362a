"""`know`: gathers what a forecast is made from: boxes, what is done, what tasks need and take."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.masked import masked
from producer.cost.estimate import Known
from producer.cost.forecast import Counts
from producer.cost.measure import Measured, measure
from producer.cost.places import Places
from producer.cost.prices import Prices
from producer.cost.seconds import TaskTimes, times_of
from producer.cost.worker import ask_worker
from producer.plan.job import Plan
from producer.plan.pipeline_file import PipelineFile

_RECORDS = 2000  # of an earlier job that are read


@dataclass(frozen=True)
class Source:
    """Where the seconds of a task come from: one of them, or none.

    seconds: of a worker for a task. measure: number of boxes to run here, of those that one of so
    many workers takes; scratch: where they write, see `measure`. job: an earlier one.
    """

    seconds: float | None = None
    measure: int = 0
    workers: int = 1
    scratch: str = ""
    job: str | None = None


def know(
    plan: Plan,
    file: PipelineFile,
    prices: Prices,
    source: Source,
    ledger: Ledger | None,
    *,
    skip_done: bool,
    in_flight: int,
) -> Known:
    """Gather it.

    ledger: of the job. skip_done: the forecast leaves out boxes that it has as done.
    Raises ConfigError for what is wrong with the chain or an earlier job, and StorageUnavailable.
    """
    done = _done(ledger, plan.boxes) if ledger else []
    places = Places.of(plan.boxes, done if skip_done else ())
    if not places.count:
        problem = f"all {len(plan.boxes)} boxes are done"
        raise ConfigError.one("plan", "boxes", problem, "leave out --skip-done to plan them anyway")
    measured = _measured(file, places, source, in_flight)
    (needs,) = ask_worker(file.path, [plan.boxes.chunk_size], places.region)
    return Known(
        plan.record.job,
        file.digest,
        file.chain,
        plan.boxes,
        _counts(plan, len(done), places.count),
        places,
        needs,
        prices,
        measured.times if measured else _times(source, ledger),
        measured,
    )


def _done(ledger: Ledger, boxes: Boxes) -> list[int]:
    """The indices of the boxes that a ledger has as done."""
    place_of = BoxIndex(boxes).of  # None for other boxes, and for other files
    names = (name for name in ledger.listing().done if place_of(name) is not None)
    found = (boxes.index_of(BoundingBox.parse(name)) for name in names)
    return [index for index in found if index is not None]


def _counts(plan: Plan, done: int, to_do: int) -> Counts:
    of_grid = plan.boxes.whole_grid()
    mask, by_mask = plan.mask, plan.empty if plan.mask.mask_volume_path else 0
    if mask.mask_volume_path and mask.skip_empty:
        alone = mask.model_copy(update={"skip_empty": False})
        by_mask = len(of_grid) - len(masked(of_grid, plan.grid, alone))
    return Counts(len(of_grid), by_mask, plan.empty - by_mask, done, to_do)


def _measured(
    file: PipelineFile, places: Places, source: Source, in_flight: int
) -> Measured | None:
    """Run the boxes that one of the workers would take, and some before, which are not counted."""
    if not source.measure:
        return None
    count = source.measure + in_flight
    boxes = [places.box(place) for place in places.run(count, source.workers)]
    return measure(file, boxes, in_flight, source.scratch)


def _times(source: Source, ledger: Ledger | None) -> TaskTimes | None:
    if source.seconds is not None:
        return TaskTimes(source.seconds, "given")
    if source.job is None:
        return None
    job = ledger.job(source.job) if ledger else None
    if ledger is None or job is None:
        known = ", ".join(found.job for found in ledger.jobs()) if ledger else ""
        legal = f"the ledger has {known or 'no job'}; --ledger names another one"
        raise ConfigError.one("--from-job", source.job, "is not in the ledger", legal)
    records = ledger.records(map(str, islice(iter(job.boxes()), _RECORDS)))
    of_job = [record for record in records if record.job == source.job]
    times = times_of(of_job, f"records of job {source.job}")
    if times is None:
        raise ConfigError.one("--from-job", source.job, "has no record of a task that is done")
    return times
