from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.sqs import Queue, find_queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.look.status import JobStatus, job_status
from producer.plan.job import make_plan
from producer.send.queue import create_queue
from tests.support.records import task_record


@pytest.fixture
def client() -> StubSqs:
    return StubSqs()


def enqueue(ledger: Ledger, job: str, **options: Any) -> list[str]:
    """Record a job of 2 x 2 x 2 boxes; returns the boxes."""
    grid = {"chunk_size": (2, 2, 2), "roi_size": (4, 4, 4)} | options
    plan = make_plan("q", job, Grid(**grid))
    ledger.write_job(plan.record)
    return [str(box) for box in plan.boxes]


def test_the_queue_s_numbers(client: StubSqs, queue: Queue) -> None:
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


def test_the_queue_for_high_priority_counts_too(client: StubSqs) -> None:
    create_queue(client, "q", high=True)
    queue = find_queue(client, "q")
    client.send_message(QueueUrl=queue.high_url, MessageBody="1")
    client.send_message(QueueUrl=queue.url, MessageBody="2")
    status = job_status(client, queue)
    assert (status.waiting, status.high, status.idle) == (2, 1, False)


def test_the_ledger_s_numbers(client: StubSqs, queue: Queue, ledger: Ledger) -> None:
    boxes = enqueue(ledger, "j")
    for box in boxes[:3]:
        ledger.write(task_record(box))
    ledger.write(task_record(boxes[3], "skipped"))
    ledger.write(task_record(boxes[4], "failed"))
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
        ledger.write(task_record(box))
    assert job_status(client, queue, ledger).complete


def test_the_share_of_clipped_voxels_is_that_of_all_records(
    client: StubSqs, queue: Queue, ledger: Ledger
) -> None:
    boxes = enqueue(ledger, "j")
    for i, box in enumerate(boxes):
        found = [Clipped("load-h5", i, 100), Clipped("save-h5", 0, 100)]
        ledger.write(task_record(box, clipped=found[: i % 2 + 1]))
    status = job_status(client, queue, ledger)
    assert status.clipped == {"load-h5": sum(range(8)) / 800, "save-h5": 0}
    assert status.sampled == 8
    assert job_status(client, queue, ledger, sample=2).sampled == 2
    assert job_status(client, queue, ledger, sample=0).clipped == {}


def test_a_box_done_twice_counts_once(client: StubSqs, queue: Queue, ledger: Ledger) -> None:
    boxes = enqueue(ledger, "j")
    for box in [*boxes[:6], boxes[0], boxes[0], boxes[1]]:
        ledger.write(task_record(box))
    ledger.write(task_record(boxes[6], "failed"))
    status = job_status(client, queue, ledger)
    assert (status.done, status.failed, status.missing, status.twice, status.percent) == (
        6,
        1,
        1,
        2,
        75.0,
    )
    for box in boxes * 2:
        ledger.write(task_record(box))
    status = job_status(client, queue, ledger)
    assert (status.done, status.failed, status.missing, status.twice, status.percent) == (
        8,
        0,
        0,
        8,
        100.0,
    )


def test_records_of_other_boxes_do_not_count(client: StubSqs, queue: Queue, ledger: Ledger) -> None:
    boxes = enqueue(ledger, "j", task_index_stop=4)
    for box in [*boxes, "0-2_2-4_2-5", "4-6_0-2_0-2", "2-4_2-4_2-4", "notes"]:
        ledger.write(task_record(box))
    status = job_status(client, queue, ledger)
    assert (status.done, status.total, status.percent) == (4, 4, 100.0)


def test_the_latest_job_counts_unless_one_is_named(
    client: StubSqs, queue: Queue, ledger: Ledger
) -> None:
    first = enqueue(ledger, "first")
    enqueue(ledger, "second", roi_start=(4, 4, 4))
    ledger.write(task_record(first[0]))
    assert (job_status(client, queue, ledger).job, job_status(client, queue, ledger).done) == (
        "second",
        0,
    )
    assert job_status(client, queue, ledger, "first").done == 1
    with pytest.raises(ConfigError, match="known: first, second"):
        job_status(client, queue, ledger, "third")


def test_a_ledger_without_a_job(client: StubSqs, queue: Queue, ledger: Ledger) -> None:
    assert job_status(client, queue, ledger).total is None


@pytest.mark.parametrize(
    ("done", "total", "rate", "percent", "eta", "complete"),
    [
        (0, None, None, None, None, False),
        (0, 8, None, 0.0, None, False),
        (2, 8, 0.5, 25.0, 12.0, False),
        (8, 8, None, 100.0, 0.0, True),
        (9, 8, None, 100.0, 0.0, True),
    ],
)
def test_what_follows_from_the_numbers(
    done: int,
    total: int | None,
    rate: float | None,
    percent: float | None,
    eta: float | None,
    complete: bool,
) -> None:
    status = JobStatus("q", 0, 0, 0, 0, "j", done, total=total, rate=rate)
    assert (status.percent, status.eta_seconds, status.complete) == (percent, eta, complete)


@pytest.mark.parametrize(("waiting", "in_flight", "delayed"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_a_queue_with_any_message_is_not_idle(waiting: int, in_flight: int, delayed: int) -> None:
    assert not JobStatus("q", waiting, in_flight, delayed, 0).idle
    assert JobStatus("q", 0, 0, 0, 5).idle, "no worker runs a dead letter"


@pytest.mark.parametrize(
    ("seconds_ago", "rate"),
    [([40, 30, 20, 10], 2 / 30), ([10], None), ([], None), ([60, 20], 1 / 60)],
)
def test_the_rate_is_that_of_the_later_half(
    client: StubSqs,
    queue: Queue,
    ledger: Ledger,
    seconds_ago: list[int],
    rate: float | None,
) -> None:
    now = datetime.now(UTC)
    for box, ago in zip(enqueue(ledger, "j"), seconds_ago, strict=False):
        ledger.write(
            task_record(
                box, finished=(now - timedelta(seconds=ago)).isoformat(timespec="milliseconds")
            )
        )
    status = job_status(client, queue, ledger)
    assert status.rate == (rate and pytest.approx(rate, rel=0.1))
    if rate:
        assert status.eta_seconds == pytest.approx((8 - len(seconds_ago)) / rate, rel=0.1)
    assert job_status(client, queue, ledger, sample=0).rate is None


def test_the_rate_of_many_tasks_is_estimated_from_few_records(
    client: StubSqs,
    queue: Queue,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = enqueue(ledger, "j", roi_size=(4, 4, 40))
    now = datetime.now(UTC)
    for box in boxes[:60]:
        ledger.write(task_record(box, finished=(now - timedelta(seconds=100)).isoformat()))
    asked, records = list[str](), ledger.records

    def count(names: list[str]) -> Iterator[Record]:
        asked.extend(names)
        return records(names)

    monkeypatch.setattr(ledger, "records", count)
    assert job_status(client, queue, ledger, sample=10).rate == pytest.approx(0.3, rel=0.1)
    assert len(asked) == 10


def test_times_that_cannot_be_read_are_ignored(
    client: StubSqs, queue: Queue, ledger: Ledger
) -> None:
    for box in enqueue(ledger, "j")[:3]:
        ledger.write(task_record(box, finished="yesterday"))
    assert job_status(client, queue, ledger).rate is None


def test_messages_and_dead_letters_expire_from_the_first_send_on(
    client: StubSqs, queue: Queue, ledger: Ledger
) -> None:
    enqueue(ledger, "j")
    (record,) = ledger.jobs()
    status = job_status(client, queue, ledger)
    assert (status.messages_expire, status.dead_letters_expire) == ("", ""), "there are none"
    client.send_message(QueueUrl=queue.url, MessageBody="a")
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="b")
    sent = datetime.fromisoformat(record.enqueued)
    status = job_status(client, queue, ledger)
    messages, dead = map(
        datetime.fromisoformat, (status.messages_expire, status.dead_letters_expire)
    )
    assert messages - sent <= timedelta(days=10) <= messages - sent + timedelta(seconds=1)
    assert dead - messages == timedelta(days=4)
    began = (sent - timedelta(days=2)).isoformat()
    ledger.write_job(record.model_copy(update={"began": began}))
    status = job_status(client, queue, ledger)
    assert messages - datetime.fromisoformat(status.messages_expire) == timedelta(days=2)
