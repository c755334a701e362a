from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.record import Record
from producer.figures.job import figures_of
from producer.page.operator_times import OTHERS, OperatorTimes
from producer.page.usage import Usage
from tests.support.records import task_record


def made(n: int, **facts: Any) -> Record:
    """A record of a task of 8 s, of which the device had 6, that starts at n times 10 s."""
    times = [datetime.fromtimestamp(10.0 * n + s, UTC).isoformat() for s in (0, 8)]
    given: dict[str, Any] = {"job": "job", "worker": f"w-{n % 2}", "patches": 3, "seconds": 8.0}
    given |= {"device_seconds": 6.0, "started": times[0], "finished": times[1]}
    return task_record(f"{n}-{n + 1}_0-1_0-1", **(given | facts))


def test_of_all_records_the_figures_are_those_of_the_report() -> None:
    records = [made(n, attempts=1 + (n % 3 == 0)) for n in range(20)]
    usage = Usage("job")
    for record in [*records, made(99, job="another")]:
        usage.add(record)
    report = figures_of("job", Grid(chunk_size=(1, 1, 1), grid_size=(20, 1, 1)).boxes(), records)
    assert usage.device_busy(20) == pytest.approx(report.device_busy)
    assert usage.lost_seconds(20) == pytest.approx(report.tasks.lost_seconds) == 7 * 8.0
    assert usage.mean == 8.0
    assert usage.lost_seconds(40) == 2 * usage.lost_seconds(20), "half of the records were read"


def test_of_no_record_nothing_is_known() -> None:
    usage = Usage("job")
    assert (usage.mean, usage.device_busy(5), usage.lost_seconds(5)) == (None, None, 0.0)
    assert OperatorTimes().over_time() == {"times": [], "operators": []}


def test_seconds_over_time_are_means_of_the_boxes_done_meanwhile() -> None:
    times = OperatorTimes()
    for finished, seconds in ((0.0, 1.0), (0.5, 3.0), (400.0, 7.0)):
        times.add(finished, {"inference": seconds, "save": 0.5})
    found = times.over_time()
    assert found["operators"] == [("inference", [2.0, 7.0]), ("save", [0.5, 0.5])]
    assert len(found["times"]) == 2


def test_many_operators_are_told_as_few_and_others() -> None:
    times = OperatorTimes()
    times.add(1.0, {f"op-{n}": 10.0 - n for n in range(10)})
    operators = dict(times.over_time()["operators"])
    assert len(operators) == 7
    assert sum(seconds[0] for seconds in operators.values()) == sum(10.0 - n for n in range(10))
    assert operators[OTHERS] == [4.0 + 3.0 + 2.0 + 1.0]
