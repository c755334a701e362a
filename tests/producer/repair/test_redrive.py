from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue, move
from producer.cli import main
from producer.look.dead_letters import cause_of
from producer.repair.redrive import redrive

BOXES = [f"{z}-{z + 2}_0-2_0-2" for z in range(0, 24, 2)]


@pytest.fixture
def dead(client: Any, queue: Queue, ledger: Ledger) -> list[str]:
    """Boxes among the dead letters, of two causes; the last is a copy with attempts spent, and one letter is malformed."""
    for i, box in enumerate(BOXES):
        body = encode(
            TaskMessage(job="j", bbox=box, attempts=3 if i == len(BOXES) - 1 else 0), queue.name
        )
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
        error = f"load on {box}: lacks {i} blocks" if i < 4 else "out of memory"
        fields = {
            "bbox": box,
            "job": "j",
            "task_id": "1",
            "state": "failed",
            "attempts": 3,
            "worker": "w",
            "error": error,
        }
        ledger.write(Record.model_validate(fields))
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
        (["--cause", "lacks"], range(4)),
        (["--cause", "load on <box>: lacks # blocks"], range(4)),
        (["--box", BOXES[5]], [5]),
        (["--box", "7-8_0-1_0-1"], []),
    ],
)
def test_dead_letters_go_back(
    client: Any,
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
    assert (
        f"sent {len(places)} dead letters back to queue {queue.name}, left {13 - len(places)}"
        in output.out
    )
    assert "no worker can run it" in output.err
    assert boxes_in(take_all(queue.url), queue) == sorted(dead[i] for i in places)
    assert len(take_all(queue.dead_letter_url)) == 13 - len(places), "those left are visible again"


def test_mistakes_end_with_2(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive", "--queue", queue.name, "--cause", "x"]) == 2
    assert "needs a ledger" in capsys.readouterr().err
    assert main(["redrive", "--queue", queue.name, "--box", "x"]) == 2
    assert "is not a box" in capsys.readouterr().err


def test_a_cause_is_the_text_without_numbers_and_boxes() -> None:
    assert cause_of("load on -8-0_0-1_0-1: 3 blocks, 1.5 s") == "load on <box>: # blocks, # s"


def test_a_pass_ends_though_workers_fail_the_same_tasks_meanwhile(
    client: Any, queue: Queue, dead: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_and_fail(client: Any, body: str, source: str, receipt: str, target: str) -> None:
        move(client, body, source, receipt, target)
        client.send_message(QueueUrl=source, MessageBody=body)

    monkeypatch.setattr("producer.repair.redrive.move", move_and_fail)
    done = redrive(client, queue, lambda letter: True)
    assert (done.sent, done.left) == (len(dead), len(dead))
