from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chunkflow_worker.job.record import Record
from producer.cost.seconds import busy_seconds, steady_seconds, times_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def record(start: float, stop: float, worker: str = "a", **more: object) -> Record:
    started, finished = ((BEGIN + timedelta(seconds=n)).isoformat() for n in (start, stop))
    return Record.model_validate(
        {"bbox": "0-1_0-1_0-1", "job": "j", "task_id": "t", "state": "done", "attempts": 1}
        | {"worker": worker, "started": started, "finished": finished, "seconds": stop - start}
        | more
    )


def test_time_with_several_tasks_in_flight_counts_once_and_gaps_do_not_count() -> None:
    records = [record(0, 10), record(2, 12), record(100, 110), record(0, 5, "b"), record(3, 4)]
    assert busy_seconds(records) == 12 + 10 + 5


def test_the_first_tasks_warm_up() -> None:
    """Ends at 50, 51, 53, 55 and 57 s: after two of them, 2 s a task."""
    records = [record(0, end) for end in (57, 50, 53, 51, 55)]
    assert steady_seconds(records, 2) == 2
    assert steady_seconds(records[:2], 2) == 57 / 2


def test_times_tell_how_long_tasks_last_and_what_operators_take() -> None:
    records = [
        record(n, n + 1 + n, timer={"net": n, "save": 1}, memory_peak=n * 100) for n in range(10)
    ]
    times = times_of(records, "records of job j")
    assert times is not None
    assert times.operators == {"net": 4.5, "save": 1.0}
    assert times.lasts[1] == pytest.approx(5.5)
    assert times.memory_peak == 900
    assert times.source == "records of job j, 10 tasks"
    assert times_of([], "nothing") is None
