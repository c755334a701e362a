from __future__ import annotations

import click
import pytest

from chunkflow_worker.job.message import TaskMessage, encode
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.repair.drop import drop

BOXES = [f"{z}-{z + 2}_0-2_0-2" for z in range(0, 24, 2)]


@pytest.fixture
def client() -> StubSqs:
    return StubSqs()


@pytest.fixture
def letters(client: StubSqs, queue: Queue) -> int:
    """The dead letters of two jobs, and a malformed one; returns their number."""
    for number, box in enumerate(BOXES):
        body = encode(TaskMessage(job="ab"[number % 2], bbox=box), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")
    return len(BOXES) + 1


def is_of_a(message: TaskMessage) -> bool:
    return message.job == "a"


@pytest.mark.parametrize("malformed", [False, True])
def test_the_chosen_are_deleted_and_the_others_are_visible_again(
    client: StubSqs, queue: Queue, letters: int, malformed: bool
) -> None:
    asked: list[int] = []
    result = drop(client, queue, is_of_a, asked.append, malformed=malformed)
    count = len(BOXES) // 2 + malformed
    assert result == (count, letters - count)
    assert asked == [count]
    left = client.visible(queue.dead_letter_url)
    assert len(left) == letters - count
    assert ("no task" in left) is not malformed


def test_a_no_deletes_nothing(client: StubSqs, queue: Queue, letters: int) -> None:
    def refuse(count: int) -> None:
        raise click.Abort

    with pytest.raises(click.Abort):
        drop(client, queue, is_of_a, refuse)
    assert len(client.visible(queue.dead_letter_url)) == letters


def test_nothing_to_drop_asks_nothing(client: StubSqs, queue: Queue, letters: int) -> None:
    def refuse(count: int) -> None:
        raise click.Abort

    assert drop(client, queue, lambda message: False, refuse) == (0, letters)
