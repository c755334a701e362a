"""`figures_of`: all figures of a job, from its records in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from producer.figures.dollars import lost_hours, machine_hours
from producer.figures.extremes import FailureCause, Failures, Slowest, SlowTask
from producer.figures.hosts import Host, hosts_of
from producer.figures.moments import moment_text, span_of
from producer.figures.operators import Operator, Operators
from producer.figures.place_map import PlaceMap, View
from producer.figures.provenance import Provenance, Sources
from producer.figures.rounding import rounded
from producer.figures.tasks import TaskFigures, Tasks
from producer.figures.timeline import Progress, Timeline
from producer.figures.workers import WorkerFigures, Workers

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.record import Record

_DERIVED = (
    "done",
    "missing",
    "seconds",
    "machine_hours",
    "lost_hours",
    "busy",
    "device_busy",
    "patches_a_second",
)
_LEFT_EARLY = 60.0  # seconds before the end of the job, and three long tasks


@dataclass(frozen=True)
class JobFigures:
    """What the records of a job say; times are seconds, or seconds since 1970.

    total: boxes of the job. by_earlier_jobs: boxes that an earlier job with this ledger did; no
        other figure but the map counts them.
    first, last: when the first task started, and the last one ended.
    left_early: workers that ended well before the job: stopped, interrupted, or killed.
    """

    job: str
    total: int
    by_earlier_jobs: int
    first: float
    last: float
    tasks: TaskFigures
    operators: tuple[Operator, ...]
    progress: Progress
    workers: tuple[WorkerFigures, ...]
    hosts: tuple[Host, ...]
    slowest: tuple[SlowTask, ...]
    failures: tuple[FailureCause, ...]
    sources: Sources
    views: tuple[View, ...]

    @property
    def done(self) -> int:
        """Boxes with a record of success, of this job or an earlier one."""
        return self.tasks.done + self.tasks.skipped + self.by_earlier_jobs

    @property
    def missing(self) -> int:
        return max(0, self.total - self.done - self.tasks.failed)

    @property
    def seconds(self) -> float:
        """From the first task to the end of the last."""
        return self.last - self.first

    @property
    def machine_hours(self) -> float:
        return machine_hours(self.hosts)

    @property
    def lost_hours(self) -> float:
        return lost_hours(self.tasks, self.workers)

    @property
    def busy(self) -> float | None:
        """The share of their time in which workers had a task; None without a time."""
        return _share((worker.busy, worker.there) for worker in self.workers)

    @property
    def device_busy(self) -> float | None:
        """The share of the time of the workers with nets in which nets ran; None without a net."""
        return _share(
            (worker.device_busy, worker.there)
            for worker in self.workers
            if worker.device_busy is not None
        )

    @property
    def patches_a_second(self) -> float | None:
        """Of nets, while they run; None without a net."""
        seconds = sum(worker.device_busy or 0.0 for worker in self.workers)
        return self.tasks.patches / seconds if seconds and self.tasks.patches else None

    @property
    def left_early(self) -> tuple[WorkerFigures, ...]:
        limit = self.last - max(_LEFT_EARLY, 3 * self.tasks.p95)
        return tuple(worker for worker in self.workers if worker.last < limit)

    def as_json(self) -> dict[str, Any]:
        """The figures without the map, rounded, with times in ISO 8601."""
        fields = asdict(self)
        del fields["views"]
        for name in ("first", "last"):
            fields[name] = moment_text(fields[name]) if self.last else ""
        for one in (*fields["workers"], *fields["hosts"]):
            one.pop("spans", None)
            one["first"], one["last"] = moment_text(one["first"]), moment_text(one["last"])
        fields["progress"]["start"] = moment_text(self.progress.start)
        fields |= {name: getattr(self, name) for name in _DERIVED}
        fields["left_early"] = [worker.name for worker in self.left_early]
        found: dict[str, Any] = rounded(fields)
        return found


class _Collector:
    def __init__(self, job: str, boxes: Boxes):
        self.job, self.total, self.earlier = job, len(boxes), 0
        self.first, self.last = float("inf"), 0.0
        self.map, self.progress, self.tasks = PlaceMap(boxes), Timeline(), Tasks()
        self.operators, self.workers = Operators(), Workers()
        self.slowest, self.failures, self.sources = Slowest(), Failures(), Provenance()

    def add(self, record: Record) -> None:
        if record.job != self.job and record.state == "failed":
            return  # this job has not tried the box, whatever an earlier one did
        self.map.add(record)
        if record.job != self.job:
            self.earlier += 1
            return
        parts = (self.tasks, self.workers, self.slowest, self.failures, self.sources)
        for part in parts:
            part.add(record)
        span = span_of(record)
        if span is not None:
            self.first, self.last = min(self.first, span[0]), max(self.last, span[1])
        if record.state == "done":
            self.operators.add(record)
        if span is not None and record.state != "failed":
            self.progress.add(span[1], record.voxels if record.state == "done" else 0)

    def found(self) -> JobFigures:
        workers = self.workers.found()
        return JobFigures(
            self.job,
            self.total,
            self.earlier,
            self.first if self.last else 0.0,
            self.last,
            self.tasks.found(),
            self.operators.found(),
            self.progress.found(),
            workers,
            hosts_of(workers),
            self.slowest.found(),
            self.failures.found(),
            self.sources.found(),
            self.map.found(),
        )


def figures_of(job: str, boxes: Boxes, records: Iterable[Record]) -> JobFigures:
    """The figures of a job; each box has one record, of its success or else of its last failure.

    boxes: of the job. Records of other boxes count nowhere in the map.
    """
    collector = _Collector(job, boxes)
    for record in records:
        collector.add(record)
    return collector.found()


def _share(pairs: Iterable[tuple[float, float]]) -> float | None:
    parts, wholes = 0.0, 0.0
    for part, whole in pairs:
        parts, wholes = parts + part, wholes + whole
    return min(1.0, parts / wholes) if wholes else None
