"""The figures of a job beside those of a second, plain program."""

from __future__ import annotations

import json
from datetime import datetime
from random import Random

import pytest

from chunkflow_worker.job.record import Record
from producer.figures.job import JobFigures, figures_of
from producer.figures.quantiles import ERROR
from tests.support.job_records import BEGAN, job_boxes, job_records
from tests.support.records import task_record


@pytest.fixture
def figures() -> JobFigures:
    return figures_of("j", job_boxes(), job_records())


def test_the_counts_by_hand(figures: JobFigures) -> None:
    tasks = figures.tasks
    assert (tasks.done, tasks.skipped, tasks.failed, tasks.given_up) == (17, 2, 2, 1)
    assert (figures.total, figures.done, figures.missing) == (24, 19, 3)
    assert (tasks.attempts, tasks.retries, tasks.retried) == (18 + 3 * 3, 6, 1)
    assert (tasks.patches, tasks.patches_skipped) == (17 * 6, 17 * 2)
    assert (tasks.voxels, tasks.bytes_read, tasks.bytes_written) == (17 * 256, 17_000, 5_100)
    assert tasks.seconds == 16 * 8 + 80
    assert (tasks.longest, tasks.stragglers) == (80, 1)
    assert tasks.median == pytest.approx(8, rel=ERROR)
    assert tasks.recorded_lost == 16
    assert tasks.lost_seconds == pytest.approx(16 + 6 * (16 * 8 + 80) / 17)


def test_workers_and_their_shares_by_hand(figures: JobFigures) -> None:
    first, second = figures.workers
    assert [worker.name for worker in figures.workers] == ["host-gpu0", "host-gpu1"]
    assert (first.host, first.device) == ("host", "NVIDIA L4")
    assert (first.tasks, first.failed, second.tasks, second.failed) == (10, 1, 9, 1)
    assert first.there == first.busy == 10 * 8 + 80
    assert first.device_busy == (8 * 8 + 80) / 2
    assert figures.busy == 1
    assert figures.seconds == first.there
    assert second.there == 10 * 8
    assert figures.machine_hours == pytest.approx(first.there / 3600)
    assert [worker.name for worker in figures.left_early] == []
    (host,) = figures.hosts
    assert (host.workers, host.tasks, host.failed, host.ratio) == (2, 19, 2, 1)


def test_the_figures_equal_those_of_a_plain_program(figures: JobFigures) -> None:
    records = list(job_records())
    done = [record for record in records if record.state == "done"]
    found = json.loads(json.dumps(figures.as_json()))
    for operator in found["operators"]:
        times = sorted(record.timer[operator["name"]] for record in done)
        assert operator["seconds"] == pytest.approx(sum(times), rel=1e-5)
        assert operator["median"] == pytest.approx(times[(len(times) - 1) // 2], rel=ERROR)
        assert operator["p95"] == pytest.approx(times[-(-95 * len(times) // 100) - 1], rel=ERROR)
    ends = [datetime.fromisoformat(record.finished) for record in records]
    assert datetime.fromisoformat(found["last"]) == max(ends)
    assert datetime.fromisoformat(found["first"]) == BEGAN
    progress = found["progress"]
    assert sum(progress["tasks"]) == len(done) + 2
    assert sum(progress["voxels"]) == sum(record.voxels for record in done)
    compute = sum(record.timer["inference"] for record in done)
    there = sum(
        (max(of) - BEGAN).total_seconds()
        for of in (
            [datetime.fromisoformat(r.finished) for r in records if r.worker == worker]
            for worker in {r.worker for r in records}
        )
    )
    assert found["device_busy"] == pytest.approx(compute / there, rel=1e-5)
    assert found["patches_a_second"] == pytest.approx(17 * 6 / compute, rel=1e-5)
    slowest = max(done, key=lambda record: record.seconds)
    assert found["slowest"][0]["box"] == slowest.bbox
    assert found["sources"]["versions"] == {"chunkflow-worker": {"0.1.0": 19}}


def test_the_order_of_the_records_does_not_matter(figures: JobFigures) -> None:
    records = list(job_records())
    Random(1).shuffle(records)
    again = figures_of("j", job_boxes(), records).as_json()
    expected = figures.as_json()
    for one in (again, expected):
        one["failures"][0].pop("examples")  # those that came first
    assert again == expected


def test_failures_are_grouped_and_cut() -> None:
    box, other, *_ = map(str, job_boxes())
    records = [
        task_record(box, "failed", error=f"no file {number} " + "x" * 10**6, log=["y" * 10**6])
        for number, box in ((1, box), (22, other))
    ]
    (cause,) = figures_of("j", job_boxes(), records).failures
    assert (cause.boxes, cause.examples) == (2, [box, other])
    assert len(cause.error) < 2100
    assert len(cause.log[0]) < 400


def test_an_earlier_job_counts_as_done_and_in_no_other_figure() -> None:
    records = [_of_earlier(record) for record in job_records()]
    figures = figures_of("j", job_boxes(), records)
    assert (figures.done, figures.by_earlier_jobs, figures.missing) == (19, 19, 5)
    assert figures.tasks.attempts == 0
    assert figures.workers == ()
    assert figures.views[0].done.sum() == 19


def _of_earlier(record: Record) -> Record:
    return record.model_copy(update={"job": "earlier"})


def test_a_job_without_records() -> None:
    figures = figures_of("j", job_boxes(), [])
    assert (figures.done, figures.missing, figures.seconds) == (0, 24, 0)
    assert figures.busy is figures.device_busy is figures.patches_a_second is None
    assert figures.as_json()["first"] == ""


def test_a_worker_that_was_lost_ends_early() -> None:
    records = [record for record in job_records() if record.state != "failed"]
    late = [r for r in records if r.worker == "host-gpu0"]
    early = [r for r in records if r.worker == "host-gpu1"][:2]
    moved = [
        r.model_copy(
            update={
                "started": r.started.replace("T08", "T12"),
                "finished": r.finished.replace("T08", "T12"),
            }
        )
        for r in late
    ]
    figures = figures_of("j", job_boxes(), [*early, *moved])
    assert [worker.name for worker in figures.left_early] == ["host-gpu1"]
