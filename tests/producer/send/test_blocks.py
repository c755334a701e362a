from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import boto3
import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.message import open_envelope
from chunkflow_worker.job.sqs import Queue
from producer.send.batches import SendingFailed, SendingRefused
from producer.send.blocks import Target, send_tasks
from producer.send.tasks import DOUBT_SECONDS, Tasks
from tests.support.aws_sqs import DENIED, SqsServer, aws_sqs
from tests.support.queues import make_queue

BLOCK = 100


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsServer]:
    with aws_sqs() as server:
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("producer.send.blocks.BLOCK", BLOCK)
        yield server


@pytest.fixture
def queue(sqs: SqsServer) -> Queue:
    return make_queue(sqs.stub)


@pytest.fixture
def target(queue: Queue) -> Target:
    return Target("us-east-1", queue.url, threads=4)


def tasks(count: int = 950, doubtful: int = 0) -> Tasks:
    boxes = Grid(chunk_size=Vec3(2, 2, 2), grid_size=Vec3(1, 1, count)).boxes()
    return Tasks(boxes, "j", "", "q", "run", doubtful)


def ids(sqs: SqsServer, queue: Queue) -> Counter[str]:
    return Counter(open_envelope(body, "q")[1] for body in sqs.stub.bodies(queue.url))


@pytest.mark.parametrize(("count", "size"), [(5, 5), (60, 10), (950, 47)])
def test_more_blocks_are_smaller_and_whole_batches_at_least(
    count: int, size: int, sqs: SqsServer, target: Target
) -> None:
    notes = list[tuple[int, int]]()
    send_tasks(target, tasks(count), fewest_blocks=20, note=lambda *note: notes.append(note))
    assert max(until - sent for sent, until in notes) == size


@pytest.mark.parametrize("processes", [1, 2])
def test_each_task_is_sent_once(
    processes: int, sqs: SqsServer, queue: Queue, target: Target
) -> None:
    notes, places = list[tuple[int, int]](), list[int]()

    def note(sent: int, until: int) -> None:
        notes.append((sent, until))
        assert all(int(name[4:]) < until for name in ids(sqs, queue))

    send_tasks(target, tasks(), 50, processes=processes, note=note, sent=places.append)
    assert ids(sqs, queue) == Counter(f"run-{place}" for place in range(50, 950))
    sends = [given for name, given in sqs.stub.calls if name == "send_message_batch"]
    assert {entry["MessageGroupId"] for given in sends for entry in given["Entries"]} == {"j"}
    assert notes == sorted(notes)
    assert (notes[0], notes[-1]) == ((50, 150), (950, 950))
    assert all(until - sent <= (processes + 1) * BLOCK for sent, until in notes)
    assert places == sorted(places)
    assert places[-1] == 950


def test_what_was_in_doubt_stays_in_doubt(target: Target) -> None:
    notes = list[tuple[int, int]]()
    send_tasks(target, tasks(400, doubtful=250), note=lambda *at: notes.append(at))
    assert notes == [(0, 250), (100, 250), (200, 300), (300, 400), (400, 400)]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_says_what_was_not_sent(
    processes: int, sqs: SqsServer, queue: Queue, target: Target
) -> None:
    notes = list[tuple[int, int]]()
    sqs.set(DENIED, "SendMessageBatch")
    with pytest.raises(SendingRefused, match="0 messages were sent") as caught:
        send_tasks(target, tasks(), processes=processes, note=lambda *at: notes.append(at))
    assert isinstance(caught.value, SendingFailed)
    assert caught.value.first_unsent == 0
    assert notes[-1][0] == 0
    assert ids(sqs, queue) == Counter()


def test_no_task_is_no_request(sqs: SqsServer, target: Target) -> None:
    send_tasks(target, tasks(1), 1)
    assert sqs.requests["SendMessageBatch"] == 0


def test_what_may_have_been_sent_before_is_delayed(
    sqs: SqsServer, queue: Queue, target: Target
) -> None:
    send_tasks(target, tasks(150, doubtful=30), 10)
    sends = [given for name, given in sqs.stub.calls if name == "send_message_batch"]
    delays = {
        open_envelope(entry["MessageBody"], "q")[1]: entry.get("DelaySeconds", 0)
        for given in sends
        for entry in given["Entries"]
    }
    assert delays == {
        f"run-{place}": DOUBT_SECONDS if place < 30 else 0 for place in range(10, 150)
    }
    assert len(sqs.stub.visible(queue.url)) == 120
