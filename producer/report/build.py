"""`build_report`: gathers what a report says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.job.stages import split_stage
from producer.cost.stored import read_plan
from producer.figures.dollars import dollars_of
from producer.figures.job import JobFigures, figures_of
from producer.figures.spent import spent_of
from producer.look.records import records_of_job
from producer.look.survey import Survey
from producer.plan.pipeline_file import PipelineFile, written_paths
from producer.report.document import Chain, Checked, Report

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record
    from producer.cost.prices import Machine, Prices


@dataclass(frozen=True)
class Beside:
    """What a report is made from beside the records.

    pipeline: the file. machines: kinds that the workers may have run on; spot: at this price.
    """

    pipeline: Path | None
    prices: Prices
    machines: tuple[Machine, ...] = ()
    spot: bool = False
    checked: Checked | None = None


def build_report(
    ledger: Ledger,
    job: JobRecord,
    beside: Beside,
    show: Callable[[int], object] = lambda count: None,
) -> Report:
    """Read all records of a job. show: is told how many were read.

    Raises ConfigError for a job or a file that cannot be read, and StorageUnavailable.
    """
    file = PipelineFile.load(beside.pipeline) if beside.pipeline else None
    boxes = job.boxes()
    survey = Survey(ledger, boxes)
    found = survey.look()
    records = records_of_job(ledger, boxes, survey.places())
    figures = figures_of(job.job, boxes, _counted(records, show))
    plan = read_plan(ledger, job.job)
    return Report(
        job,
        ledger.path,
        ledger.states.read(job.job).state,
        figures,
        boxes.chunk_size,
        _voxel_size(figures, file, ledger),
        found.twice,
        len(found.late),
        beside.checked,
        _chain(file, job),
        spent_of(plan, _seconds(figures), figures.done, figures.total) if plan else None,
        [
            dollars_of(
                beside.prices,
                machine,
                figures.hosts,
                figures.tasks,
                figures.workers,
                spot=beside.spot,
            )
            for machine in beside.machines
        ],
    )


def _counted(records: Iterable[Record], show: Callable[[int], object]) -> Iterator[Record]:
    for count, record in enumerate(records, 1):
        yield record
        show(count)


def _seconds(figures: JobFigures) -> float | None:
    """Seconds of a worker for a task."""
    tasks = figures.tasks.done + figures.tasks.skipped
    return sum(worker.busy for worker in figures.workers) / tasks if tasks else None


def _chain(file: PipelineFile | None, job: JobRecord) -> Chain | None:
    if file is None:
        return None
    path, _ = split_stage(file.path)
    text = path.read_text(encoding="utf-8", errors="replace")
    return Chain(text, file.digest, not job.pipeline or file.digest == job.pipeline)


def _voxel_size(
    figures: JobFigures, file: PipelineFile | None, ledger: Ledger
) -> tuple[float, float, float] | None:
    """Of the volume that most boxes wrote to, if it can be opened.

    Only volumes that the chain writes, or that has the ledger, are opened: anything may stand in
    records.
    """
    from chunkflow_worker.volumes.open_volume import open_volume

    paths = written_paths(file, ledger)
    volumes = figures.sources.volumes
    for name in sorted(volumes, key=lambda one: -volumes[one]):
        path, _, mip = name.rpartition(" mip ")
        if paths.refusal(path) is None:
            with suppress(ChunkflowError):
                z, y, x = open_volume(path, int(mip)).voxel_size
                return float(z), float(y), float(x)
    return None
