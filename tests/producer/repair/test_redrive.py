from __future__ import annotations

import pytest

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage, encode, open_envelope
from chunkflow_worker.job.sqs import Queue, move
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from producer.repair.redrive import matcher, redrive
from tests.support.records import task_record

BOXES = [f"{z}-{z + 2}_0-2_0-2" for z in range(0, 12, 2)]
FAILED, OTHER, DONE, UNRECORDED = BOXES[:4]


@pytest.fixture
def client() -> StubSqs:
    return StubSqs()


@pytest.fixture
def dead(client: StubSqs, queue: Queue) -> None:
    """Dead letters with attempts spent, and a malformed one."""
    for box in BOXES:
        body = encode(TaskMessage(job="j", bbox=box, attempts=3), queue.name, f"id-{box}")
        client.send_message(QueueUrl=queue.dead_letter_url, MessageBody=body)
    client.send_message(QueueUrl=queue.dead_letter_url, MessageBody="no task")


def test_chosen_messages_go_back_with_no_attempts_spent(
    dead: None, client: StubSqs, queue: Queue
) -> None:
    chosen = {BOXES[0], BOXES[4]}
    result = redrive(client, queue, lambda message: message.bbox in chosen)
    assert (result.sent, result.left, len(result.malformed)) == (2, 4, 1)
    sent = [open_envelope(body, queue.name) for body in client.visible(queue.url)]
    assert {(message.bbox, message.attempts, task_id) for message, task_id in sent} == {
        (box, 0, f"id-{box}") for box in chosen
    }
    assert len(client.visible(queue.dead_letter_url)) == 5, "those that are left are visible again"


def test_a_pass_ends_though_workers_fail_the_same_tasks_meanwhile(
    dead: None, client: StubSqs, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_and_fail(client: StubSqs, body: str, source: str, receipt: str, target: str) -> None:
        move(client, body, source, receipt, target)
        client.send_message(QueueUrl=source, MessageBody=body)

    monkeypatch.setattr("producer.repair.redrive.move", move_and_fail)
    result = redrive(client, queue, lambda message: True)
    assert (result.sent, result.left) == (len(BOXES), len(BOXES))


@pytest.fixture
def recorded(ledger: Ledger) -> Ledger:
    error = f"load on {FAILED}: 3 blocks are missing"
    ledger.write(task_record(FAILED, "failed", error=error))
    ledger.write(task_record(OTHER, "failed", error="out of memory"))
    ledger.write(task_record(DONE))
    return ledger


@pytest.mark.parametrize(
    ("cause", "box", "matched"),
    [
        (None, None, [FAILED, OTHER, DONE, UNRECORDED]),
        (None, OTHER, [OTHER]),
        (None, "7-8_0-1_0-1", []),
        ("3 blocks", None, [FAILED]),
        ("load on <box>: # blocks are missing", None, [FAILED]),
        ("memory", None, [OTHER]),
        ("memory", OTHER, [OTHER]),
        ("memory", FAILED, []),
        ("another error", None, []),
    ],
)
def test_messages_are_matched_by_cause_and_box(
    recorded: Ledger, cause: str | None, box: str | None, matched: list[str]
) -> None:
    matches = matcher(recorded, cause, box)
    boxes = [FAILED, OTHER, DONE, UNRECORDED]
    assert [b for b in boxes if matches(TaskMessage(job="j", bbox=b))] == matched


def test_without_a_ledger_no_cause_is_known() -> None:
    message = TaskMessage(job="j", bbox=FAILED)
    assert matcher(None, None, None)(message)
    assert not matcher(None, "memory", None)(message)
