"""`TaskTimes`: what tasks took, by the records of those that were done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import quantiles

from chunkflow_worker.job.record import Record


@dataclass(frozen=True)
class TaskTimes:
    """Times in seconds.

    seconds: of a worker for each task, which is less than tasks take where several are in flight.
    lasts: how long a task lasts, 10th, 50th and 90th percentile; empty if unknown.
    operators: mean of each.
    tasks: that were looked at. source: where it is from, for people.
    memory_peak: bytes of a worker's process; 0 if unknown.
    """

    seconds: float
    source: str
    lasts: tuple[float, ...] = ()
    operators: dict[str, float] = field(default_factory=dict)
    tasks: int = 0
    memory_peak: int = 0


def times_of(records: Sequence[Record], source: str) -> TaskTimes | None:
    """None without a record of a task that was done; skipped ones count like others."""
    timed = [record for record in records if record.started and record.finished]
    if not timed:
        return None
    lasts = [record.seconds for record in timed]
    percentiles = quantiles(lasts, n=10) if len(lasts) > 1 else lasts * 9
    sums: dict[str, float] = defaultdict(float)
    for record in timed:
        for name, seconds in record.timer.items():
            sums[name] += seconds
    return TaskTimes(
        busy_seconds(timed) / len(timed),
        f"{source}, {len(timed)} tasks",
        (percentiles[0], percentiles[4], percentiles[8]),
        {name: total / len(timed) for name, total in sums.items()},
        len(timed),
        max(record.memory_peak for record in timed),
    )


def steady_seconds(records: Sequence[Record], warm: int) -> float:
    """Seconds of one worker for a task, without the first tasks, while it has fetched little.

    warm: number of these; of fewer records than that, the mean of all.
    """
    ends = sorted(datetime.fromisoformat(record.finished) for record in records)
    if len(ends) <= warm:
        return busy_seconds(records) / len(records)
    return (ends[-1] - ends[warm - 1]).total_seconds() / (len(ends) - warm)


def busy_seconds(records: Iterable[Record]) -> float:
    """The time for which workers had a task or several, summed over the workers."""
    spans: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for record in records:
        started, finished = map(datetime.fromisoformat, (record.started, record.finished))
        spans[record.worker].append((started, max(started, finished)))
    return sum(_union(sorted(found)) for found in spans.values())


def _union(spans: list[tuple[datetime, datetime]]) -> float:
    """Seconds that the spans cover together. They are sorted."""
    total, reached = 0.0, spans[0][0]
    for start, stop in spans:
        if stop > reached:
            total += (stop - max(start, reached)).total_seconds()
            reached = stop
    return total
