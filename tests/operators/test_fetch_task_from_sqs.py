from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.cli.local import _stopped_by_sigterm
from chunkflow_worker.errors import (
    BoxOutsideJob,
    ConfigError,
    PermanentError,
    PipelineMismatch,
    Preempted,
)
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.inbox import Inbox, Received
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import QueueUnavailable, make_client
from chunkflow_worker.local_aws.stub_sqs import ManualClock, StubSqs
from chunkflow_worker.operators import fetch_task_from_sqs
from chunkflow_worker.operators.fetch_task_from_sqs import FetchTaskFromSqs
from chunkflow_worker.pipeline.task import Task
from producer.send.queue import create_queue, delete_queue

BOXES = [f"0-4_0-4_{x}-{x + 4}" for x in (0, 4, 8)]
CREATE = ("create-chunk", "-s", 4, 4, 4)


class Queue:
    """A queue for one test. A message is dead after two receives."""

    def __init__(self, name: str, client: Any):
        self.name, self.client = name, client
        made, dead = create_queue(self.client, name, max_receives=2, visibility_seconds=30)
        self.url, self.dead_url = made.url, dead.url

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.url, MessageBody=body)

    def enqueue(self, *boxes: str, **options: Any) -> None:
        """Send tasks as `chunkflow-producer enqueue` does."""
        for box in boxes:
            message = TaskMessage(job="job", bbox=box, **options)
            self.send(encode(message, self.name, f"id-{box}"))

    def waiting(self, dead: bool = False) -> list[tuple[str, int]]:
        """Body and receive count of each visible message. Hides these messages for one second."""
        answer = self.client.receive_message(
            QueueUrl=self.dead_url if dead else self.url,
            AttributeNames=["ApproximateReceiveCount"],
            MaxNumberOfMessages=10,
            VisibilityTimeout=1,
        )
        return [
            (message["Body"], int(message["Attributes"]["ApproximateReceiveCount"]))
            for message in answer.get("Messages", [])
        ]

    def counts(self) -> tuple[int, int]:
        """Numbers of visible and of hidden messages."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible")]
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        visible, hidden = (int(answer["Attributes"][name]) for name in names)
        return visible, hidden

    def fetch(self, **options: Any) -> FetchTaskFromSqs:
        return FetchTaskFromSqs(**{"queue_name": self.name, "retry_times": 0} | options)

    def run(
        self,
        *chain: object,
        before: tuple[object, ...] = (),
        options: tuple[object, ...] = ("-r", 0),
    ) -> Result:
        arguments = [*before, "fetch-task-from-sqs", "-q", self.name, *options, *chain]
        return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue in memory."""
    stub = StubSqs(clock)
    monkeypatch.setattr(fetch_task_from_sqs, "make_client", lambda *_, **__: stub)
    monkeypatch.setattr(fetch_task_from_sqs, "_POLL_SECONDS", 0)
    return Queue("q", stub)


@pytest.fixture
def served_queue(aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue on the local AWS server."""
    monkeypatch.setattr(fetch_task_from_sqs, "_POLL_SECONDS", 0)
    return Queue(unique_name, make_client("us-east-1"))


@pytest.mark.parametrize("in_flight", [1, 2])
def test_tasks_of_the_producer_are_run_recorded_and_deleted(
    served_queue: Queue, tmp_path: Path, in_flight: int
) -> None:
    """Named defect of the peer: every message crashed the worker, and stayed hidden for an hour."""
    queue = served_queue
    queue.enqueue(*BOXES, attempts=2)
    done = queue.run(
        *CREATE,
        "save-npy",
        "-f",
        f"{tmp_path}/out/",
        before=("--in-flight", in_flight, "--ledger", tmp_path / "log"),
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.npy")) == sorted(BOXES)
    records = {r.bbox: r for r in Ledger(str(tmp_path / "log")).records(BOXES)}
    assert {(b, r.job, r.task_id, r.attempts) for b, r in records.items()} == {
        (b, "job", f"id-{b}", 3) for b in BOXES
    }
    assert queue.counts() == (0, 0)


def test_boxes_as_plain_text_are_run(queue: Queue, tmp_path: Path) -> None:
    queue.send(BOXES[0], f" {BOXES[1]}\n")
    assert queue.run(*CREATE, before=("--ledger", tmp_path)).exit_code == 0
    assert sorted(r.bbox for r in Ledger(str(tmp_path)).records(BOXES)) == BOXES[:2]
    assert queue.counts() == (0, 0)


def test_a_skipped_task_is_deleted(queue: Queue, tmp_path: Path) -> None:
    """Named defect of the peer: a skipped task was never deleted, and came back for ever."""
    queue.enqueue(*BOXES[:2])
    (tmp_path / BOXES[0]).touch()
    done = queue.run("skip-task-by-file", "-p", f"{tmp_path}/", *CREATE)
    assert f"skipped {BOXES[0]}" in done.output
    assert queue.counts() == (0, 0)


def test_num_limits_the_number_of_tasks(queue: Queue) -> None:
    queue.enqueue(*BOXES)
    assert queue.run(*CREATE, options=("-n", 2)).exit_code == 0
    assert queue.counts() == (1, 0)
    assert queue.run(*CREATE, options=("-n", 0)).exit_code == 0
    assert queue.counts() == (1, 0)


def delivery(box: str = BOXES[0]) -> Delivery:
    return Delivery(TaskMessage(job="job", bbox=box), "id", receipt="r")


@pytest.mark.parametrize("times", [0, 3])
def test_retry_times_limits_the_number_of_empty_polls(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Named defect of the peer: --retry-times was ignored."""
    nothing = Received([])
    answers = [nothing] * times + [Received([delivery()])] + [nothing] * (times + 1)
    monkeypatch.setattr(Inbox, "receive", lambda self: answers.pop(0))
    assert len(list(queue.fetch(retry_times=times).tasks())) == 1
    assert answers == []


def test_a_short_outage_counts_as_an_empty_queue(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, still_away = QueueUnavailable("away"), QueueUnavailable("still away")
    answers: list[Received | QueueUnavailable] = [away, Received([delivery()]), away, still_away]

    def receive(self: Inbox) -> Received:
        answer = answers.pop(0)
        if isinstance(answer, QueueUnavailable):
            raise answer
        return answer

    monkeypatch.setattr(Inbox, "receive", receive)
    tasks = queue.fetch(retry_times=1).tasks()
    assert str(next(tasks).bbox) == BOXES[0]
    with pytest.raises(QueueUnavailable, match="still away"):
        next(tasks)


def test_a_long_task_keeps_its_message(
    queue: Queue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named defect of the peer: leases were not extended, so that a long task ran twice."""
    renewed = Semaphore(0)
    hide = queue.client.change_message_visibility

    def renew(**arguments: Any) -> None:
        hide(**arguments)
        renewed.release()

    monkeypatch.setattr(queue.client, "change_message_visibility", renew)
    queue.enqueue(BOXES[0])
    (task,) = queue.fetch(visibility_timeout=3, num=1).tasks()
    with task.hold() as check:
        for _ in range(2):
            assert renewed.acquire(timeout=10)
            clock.advance(2.9)
            check()
            assert queue.waiting() == []
    assert queue.counts() == (0, 0)


def test_the_message_of_a_dead_process_becomes_visible_again(
    queue: Queue, clock: ManualClock
) -> None:
    """Named defect of the peer: the task of a killed worker waited for an hour."""
    queue.enqueue(BOXES[0])
    list(queue.fetch(visibility_timeout=3, num=1).tasks())  # the task is never run
    assert queue.counts() == (0, 1)
    clock.advance(3)
    assert queue.counts() == (1, 0)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_failed_task_ends_the_run_and_is_retried_until_it_is_dead(
    queue: Queue, tmp_path: Path, in_flight: int
) -> None:
    """Named defect of the peer: there were no dead letters, and a chunk that always fails crashed
    workers for ever.
    """
    np.save(tmp_path / "in.npy", np.zeros((2, 2), np.uint8))
    chain = ("load-npy", "-f", tmp_path / "in.npy")
    queue.send(BOXES[0])
    for _ in range(2):
        with pytest.raises(PermanentError, match="load-npy"):
            queue.run(*chain, before=("--in-flight", in_flight), options=("-r", 1))
        assert queue.counts() == (1, 0)
    assert queue.run(*chain).exit_code == 0
    assert queue.counts() == (0, 0)
    assert [body for body, _ in queue.waiting(dead=True)] == [BOXES[0]]


def test_no_message_is_received_after_a_failure(queue: Queue) -> None:
    queue.enqueue(*BOXES)
    tasks = queue.fetch(retry_times=1).tasks()
    first, second = next(tasks), next(tasks)
    with second.hold():
        with pytest.raises(ValueError, match="broken"), first.hold():
            raise ValueError("broken")
        assert list(tasks) == []
    assert queue.counts() == (2, 0), "the failed task and the one that was never received"


def test_an_open_poll_does_not_receive_the_failed_message(
    served_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second receive would count, and the message would be dead one failure too early."""
    queue = served_queue
    monkeypatch.setattr(fetch_task_from_sqs, "_POLL_SECONDS", 2)
    queue.send(BOXES[0])
    tasks = queue.fetch().tasks()
    first, polling, receive = next(tasks), Event(), Inbox.receive

    def receive_and_signal(inbox: Inbox) -> Received:
        polling.set()
        return receive(inbox)

    def fail(rest: Iterator[Task]) -> None:
        with ThreadPoolExecutor(1) as reader, first.hold():
            others.append(reader.submit(list, rest))
            assert polling.wait(10)
            raise ValueError("broken")

    monkeypatch.setattr(Inbox, "receive", receive_and_signal)
    others: list[Future[list[Task]]] = []
    with pytest.raises(ValueError, match="broken"):
        fail(tasks)
    assert others[0].result(20) == []
    assert queue.waiting() == [(BOXES[0], 2)], "this is the second receive"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Preempted])
def test_a_stop_returns_the_task_without_counting_a_receive(
    queue: Queue, stop: type[BaseException]
) -> None:
    queue.enqueue(BOXES[0], attempts=1)
    queue.send(BOXES[1])
    for task in queue.fetch(num=1).tasks():
        with pytest.raises(stop), task.hold():
            raise stop
    for task in queue.fetch(num=1).tasks():
        with pytest.raises(stop), task.hold():
            raise stop
    waiting = queue.waiting()
    assert [count for _, count in waiting] == [1, 1]
    bodies = {body for body, _ in waiting}
    assert BOXES[1] in bodies
    message, task_id = open_envelope((bodies - {BOXES[1]}).pop(), queue.name)
    assert message == TaskMessage(job="job", bbox=BOXES[0], attempts=1)
    assert task_id == f"id-{BOXES[0]}"


def test_sigterm_stops_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _stopped_by_sigterm(True):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_malformed_message_is_moved_to_the_dead_letter_queue_and_the_next_is_run(
    queue: Queue, tmp_path: Path
) -> None:
    queue.send("0-4_0-4", json.dumps({"headers": {"task": "os.system"}}))
    queue.enqueue(BOXES[2])
    assert queue.run(*CREATE, before=("--ledger", tmp_path), options=("-r", 1)).exit_code == 0
    assert [r.bbox for r in Ledger(str(tmp_path)).records(BOXES)] == [BOXES[2]]
    assert queue.counts() == (0, 0)
    assert len(queue.waiting(dead=True)) == 2


def test_a_task_for_another_pipeline_is_returned_to_the_queue(queue: Queue) -> None:
    queue.enqueue(BOXES[0], pipeline="0123456789abcdef")
    with pytest.raises(PipelineMismatch, match="0123456789abcdef"):
        queue.run(*CREATE)
    assert [count for _, count in queue.waiting()] == [1]


def test_a_task_for_this_pipeline_is_run(queue: Queue, tmp_path: Path) -> None:
    from chunkflow_worker.pipeline.chain import Pipeline

    file = tmp_path / "p.yaml"
    assert CliRunner().invoke(cli, ["--freeze", str(file), *map(str, CREATE)]).exit_code == 0
    queue.enqueue(BOXES[0], pipeline=Pipeline.load(file).digest)
    assert queue.run(before=("--pipeline", file)).exit_code == 0
    assert queue.counts() == (0, 0)


def test_a_task_completed_by_an_earlier_delivery_is_not_run_again(
    queue: Queue, tmp_path: Path
) -> None:
    queue.enqueue(BOXES[0])
    assert queue.run(*CREATE, before=("--ledger", tmp_path)).exit_code == 0
    queue.enqueue(BOXES[0], attempts=1)
    done = queue.run(*CREATE, before=("--ledger", tmp_path))
    assert f"{BOXES[0]} was done by an earlier delivery" in done.output
    assert queue.counts() == (0, 0)


def test_a_queue_name_with_a_typo_creates_no_queue(queue: Queue) -> None:
    """Named defect of the peer: a queue name with a typo created a new queue."""
    with pytest.raises(ConfigError, match="there is no such queue in us-east-1"):
        list(queue.fetch(queue_name=f"{queue.name}x").tasks())
    assert delete_queue(queue.client, f"{queue.name}x") == []
    queue.client.delete_queue(QueueUrl=queue.dead_url)
    with pytest.raises(ConfigError, match=f"{queue.name}-dead does not exist"):
        list(queue.fetch().tasks())


def test_no_task_is_received_if_the_chain_is_empty_or_a_dry_run(queue: Queue) -> None:
    queue.enqueue(BOXES[0])
    with pytest.raises(ConfigError, match="no operator after it"):
        queue.run()
    with pytest.raises(ConfigError, match="--dry-run would not do them"):
        queue.run(*CREATE, before=("--dry-run",))
    assert queue.counts() == (1, 0)


def test_summary_and_progress_without_a_known_number_of_tasks(queue: Queue) -> None:
    queue.enqueue(*BOXES)
    done = queue.run(*CREATE, before=("--summary",))
    assert "3 tasks in" in done.output
    assert "done 1\n" in done.output


def test_a_refused_message_goes_to_the_dead_letters_at_once(queue: Queue) -> None:
    queue.enqueue(BOXES[0])
    (task,) = queue.fetch(num=1).tasks()
    with pytest.raises(BoxOutsideJob), task.hold():
        raise BoxOutsideJob("the ledger has no such job")
    assert queue.counts() == (0, 0)
    assert len(queue.waiting(dead=True)) == 1
