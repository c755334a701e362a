from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.sqs import Queue
from producer.look.status import (
    MAX_FAILED_POLLS,
    RATE_SECONDS,
    JobStatus,
    _places,
    job_status,
    watch,
)
from producer.plan.job import make_plan

GRID: dict[str, Any] = {"chunk_size": (2, 2, 2), "roi_size": (4, 4, 4)}


def enqueue(ledger: Ledger, job: str, **options: Any) -> list[str]:
    plan = make_plan("q", job, GRID | options)
    ledger.write_job(plan.record)
    return [str(box) for box in plan.boxes]


def test_the_queue_s_numbers(client: Any, queue: Queue) -> None:
    for i in range(5):
        client.send_message(QueueUrl=queue.url, MessageBody=str(i))
    client.send_message(QueueUrl=queue.url, MessageBody="later", DelaySeconds=900)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="dead")
    client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=2)
    status = job_status(client, queue)
    assert (status.waiting, status.in_flight, status.delayed, status.dead) == (3, 2, 1, 1)
    assert (status.job, status.total, status.percent, status.eta_seconds) == (
        None,
        None,
        None,
        None,
    )
    assert not status.complete
    assert not status.idle


def test_the_ledger_s_numbers(
    client: Any, queue: Queue, ledger: Ledger, write_record: Callable[..., None]
) -> None:
    boxes = enqueue(ledger, "j")
    for box in boxes[:3]:
        write_record(box)
    write_record(boxes[3], "skipped")
    write_record(boxes[4], "failed")
    status = job_status(client, queue, ledger)
    assert (status.job, status.done, status.failed, status.total, status.percent) == (
        "j",
        4,
        1,
        8,
        50.0,
    )
    assert status.idle
    for box in boxes[4:]:
        write_record(box)
    assert job_status(client, queue, ledger).complete


def test_a_box_done_twice_counts_once(
    client: Any, queue: Queue, ledger: Ledger, write_record: Callable[..., None]
) -> None:
    boxes = enqueue(ledger, "j")
    for box in [*boxes[:6], boxes[0], boxes[0], boxes[1]]:
        write_record(box)
    write_record(boxes[6], "failed")
    status = job_status(client, queue, ledger)
    assert (status.done, status.failed, status.missing, status.twice, status.percent) == (
        6,
        1,
        1,
        2,
        75.0,
    )
    for box in boxes * 2:
        write_record(box)
    status = job_status(client, queue, ledger)
    assert (status.done, status.failed, status.missing, status.twice, status.percent) == (
        8,
        0,
        0,
        8,
        100.0,
    )


def test_records_of_other_boxes_do_not_count(
    client: Any, queue: Queue, ledger: Ledger, write_record: Callable[..., None]
) -> None:
    boxes = enqueue(ledger, "j", task_index_stop=4)
    for box in [*boxes, "0-2_2-4_2-5", "4-6_0-2_0-2", "2-4_2-4_2-4", "notes"]:
        write_record(box)
    status = job_status(client, queue, ledger)
    assert (status.done, status.total, status.percent) == (4, 4, 100.0)


def test_the_latest_job_counts_unless_one_is_named(
    client: Any, queue: Queue, ledger: Ledger, write_record: Callable[..., None]
) -> None:
    first = enqueue(ledger, "first")
    enqueue(ledger, "second", roi_start=(4, 4, 4))
    write_record(first[0])
    assert (job_status(client, queue, ledger).job, job_status(client, queue, ledger).done) == (
        "second",
        0,
    )
    assert job_status(client, queue, ledger, "first").done == 1
    with pytest.raises(ConfigError, match="known: first, second"):
        job_status(client, queue, ledger, "third")


def test_a_ledger_without_a_job(client: Any, queue: Queue, ledger: Ledger) -> None:
    assert job_status(client, queue, ledger).total is None


@given(
    st.builds(Vec3, *[st.integers(-20, 20)] * 3),
    st.builds(Vec3, *[st.integers(1, 9)] * 3),
    st.builds(Vec3, *[st.integers(2, 5)] * 3),
    st.booleans(),
    st.data(),
)
def test_a_box_s_place_is_found_from_its_text(
    start: Vec3, size: Vec3, chunk: Vec3, whole: bool, data: st.DataObject
) -> None:
    grid = Grid(roi_start=start, roi_size=size, chunk_size=chunk, respect_chunk_size=whole)
    first = data.draw(st.integers(0, len(grid.boxes()) - 1))
    part = grid.model_copy(update={"task_index_start": first})
    place = _places(part.boxes())
    assert [place(str(box)) for box in grid.boxes()] == [None] * first + list(
        range(len(grid.boxes()) - first)
    )


@pytest.mark.parametrize(
    ("seconds_ago", "rate"),
    [([40, 30, 20, 10], 2 / 30), ([10], None), ([], None), ([60, 20], 1 / 60)],
)
def test_the_rate_is_that_of_the_later_half(
    client: Any,
    queue: Queue,
    ledger: Ledger,
    write_record: Callable[..., None],
    seconds_ago: list[int],
    rate: float | None,
) -> None:
    now = datetime.now(UTC)
    for box, ago in zip(enqueue(ledger, "j"), seconds_ago, strict=False):
        write_record(
            box, finished=(now - timedelta(seconds=ago)).isoformat(timespec="milliseconds")
        )
    status = job_status(client, queue, ledger)
    assert status.rate == (rate and pytest.approx(rate, rel=0.1))
    if rate:
        assert status.eta_seconds == pytest.approx((8 - len(seconds_ago)) / rate, rel=0.1)
    assert job_status(client, queue, ledger, sample=0).rate is None


def test_a_few_records_tell_the_rate_of_many(
    client: Any,
    queue: Queue,
    ledger: Ledger,
    write_record: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = enqueue(ledger, "j", roi_size=(4, 4, 40))
    now = datetime.now(UTC)
    for box in boxes[:60]:
        write_record(box, finished=(now - timedelta(seconds=100)).isoformat())
    asked, records = list[str](), ledger.records

    def count(names: list[str]) -> Iterator[Record]:
        asked.extend(names)
        return records(names)

    monkeypatch.setattr(ledger, "records", count)
    assert job_status(client, queue, ledger, sample=10).rate == pytest.approx(0.3, rel=0.1)
    assert len(asked) == 10


def test_times_that_are_no_times_are_passed_over(
    client: Any, queue: Queue, ledger: Ledger, write_record: Callable[..., None]
) -> None:
    for box in enqueue(ledger, "j")[:3]:
        write_record(box, finished="yesterday")
    assert job_status(client, queue, ledger).rate is None


class Polls:
    """Gives prepared statuses and lets ten seconds pass with each pause."""

    def __init__(self, *answers: JobStatus | Exception):
        self.answers, self.now, self.samples = list(answers), 1000.0, list[int]()

    def __call__(self, sample: int) -> JobStatus:
        self.samples.append(sample)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self) -> None:
        self.now += 10

    def watch(self, settle: float = 30) -> Iterator[JobStatus]:
        return watch(self, self.pause, settle, lambda: self.now)


def state(done: int, waiting: int = 1, dead: int = 0, rate: float | None = None) -> JobStatus:
    return JobStatus("q", waiting, 0, 0, dead, "j", done, 0, 100, rate)


def test_a_watch_ends_when_all_is_done() -> None:
    polls = Polls(state(0), state(50), state(100), state(100))
    assert [s.done for s in polls.watch()] == [0, 50, 100]


def test_a_watch_of_a_job_that_is_done_ends_at_once() -> None:
    assert [s.complete for s in Polls(state(100, waiting=3, dead=2)).watch()] == [True]


def test_a_watch_ends_when_the_queue_stays_empty() -> None:
    empty = state(90, waiting=0, dead=10)
    statuses = list(Polls(*[empty] * 9).watch(settle=30))
    assert len(statuses) == 4
    assert not statuses[-1].complete
    assert statuses[-1].dead == 10


def test_a_queue_that_looks_empty_for_a_moment_does_not_end_a_watch() -> None:
    empty, busy = state(90, waiting=0), state(90)
    statuses = list(
        Polls(empty, empty, empty, busy, empty, empty, empty, state(100)).watch(settle=30)
    )
    assert len(statuses) == 8
    assert statuses[-1].complete


def test_a_watch_outlives_some_failed_polls() -> None:
    away = StorageUnavailable("away")
    polls = Polls(
        *[away] * (MAX_FAILED_POLLS - 1), state(0), *[away] * (MAX_FAILED_POLLS - 1), state(100)
    )
    assert [s.done for s in polls.watch()] == [0, 100]
    with pytest.raises(StorageUnavailable):
        list(Polls(*[away] * MAX_FAILED_POLLS).watch())


def test_a_watch_measures_its_own_rate_after_the_first() -> None:
    polls = Polls(state(10, rate=0.5), state(10), state(30), state(100))
    statuses = list(polls.watch())
    assert [s.rate for s in statuses] == [0.5, 0.5, 1.0, 3.0]
    assert statuses[2].eta_seconds == 70
    assert statuses[3].eta_seconds == 0
    assert polls.samples == [100, 0, 0, 0]


def test_a_watch_forgets_the_rate_of_a_job_that_stands_still() -> None:
    polls = Polls(state(10, rate=0.5), *[state(20)] * (RATE_SECONDS // 10 + 1), state(100))
    rates = [s.rate for s in polls.watch()]
    assert rates[1] == 1.0
    assert rates[-2] is None
