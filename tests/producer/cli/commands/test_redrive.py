from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue
from producer.cli import main
from tests.support.records import task_record

BOXES = [f"{z}-{z + 2}_0-2_0-2" for z in range(0, 24, 2)]


@pytest.fixture
def dead(client: Any, queue: Queue, ledger: Ledger) -> list[str]:
    """Boxes of dead letters, of two causes. The last has spent attempts; one more is malformed."""
    for i, box in enumerate(BOXES):
        attempts = 3 if box == BOXES[-1] else 0
        body = encode(TaskMessage(job="j", bbox=box, attempts=attempts), queue.name)
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
        error = f"load on {box}: {i} blocks are missing" if i < 4 else "out of memory"
        ledger.write(task_record(box, "failed", attempts=3, error=error))
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")
    return BOXES


def boxes_in(bodies: list[str], queue: Queue) -> list[str]:
    messages = [open_envelope(body, queue.name)[0] for body in bodies]
    assert all(message.attempts == 0 for message in messages)
    return sorted(message.bbox for message in messages)


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ([], range(12)),
        (["--cause", "missing"], range(4)),
        (["--cause", "load on <box>: # blocks are missing"], range(4)),
        (["--box", BOXES[5]], [5]),
        (["--box", "7-8_0-1_0-1"], []),
    ],
)
def test_dead_letters_go_back(
    queue: Queue,
    ledger: Ledger,
    dead: list[str],
    take_all: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    places: list[int],
) -> None:
    assert main(["redrive", "--queue", queue.name, "--ledger", ledger.path, *options]) == 0
    output = capsys.readouterr()
    count, left = len(places), 13 - len(places)
    assert f"sent {count} dead letters back to queue {queue.name}, left {left}" in output.out
    assert "not sent, because no worker can run it" in output.err
    assert boxes_in(take_all(queue.url), queue) == sorted(dead[i] for i in places)
    assert len(take_all(queue.dead_letter_url)) == left, "those that are left are visible again"
