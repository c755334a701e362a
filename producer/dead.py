"""Dead letters: looked at without losing any, and sent back to the queue."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.message import TaskMessage, encode, open_envelope
from chunkflow_worker.sqs import Queue, QueueUnavailable, move, sqs_errors

if TYPE_CHECKING:
    from chunkflow_worker.ledger import Ledger

HIDE_SECONDS = 900  # a pass over the dead letters must end before the first of them is visible again
EMPTY_ANSWERS = 2  # in a row, before the dead letters count as all seen: SQS may overlook some
_BOX = re.compile(r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+")
_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+\b|\d+(\.\d+)?")


@dataclass(frozen=True)
class DeadLetter:
    """A message in the dead-letter queue. message: None when it is malformed; `problem` then says why."""

    id: str
    receipt: str
    message: TaskMessage | None = None
    task_id: str = ""
    problem: str = ""


@dataclass
class Redriven:
    """What a pass over the dead letters did. malformed: why those that no worker can run were left where they are."""

    sent: int = 0
    left: int = 0
    malformed: list[str] = field(default_factory=list)


def redrive(client: Any, queue: Queue, chosen: Callable[[DeadLetter], bool]) -> Redriven:
    """Send the chosen dead letters back to the queue, as if never tried; all others stay.

    Each is sent before it is deleted: cut in between, it is there twice, and never lost. Raises QueueUnavailable.
    """
    result = Redriven()
    sent: set[str] = set()
    with dead_letters(client, queue) as letters:
        for letter in letters:
            if letter.message is None:
                result.malformed.append(letter.problem)
            elif letter.task_id in sent or not chosen(letter):  # a worker may fail a task again while this pass goes on
                result.left += 1
            else:
                body = encode(letter.message.model_copy(update={"attempts": 0}), queue.name, letter.task_id)
                with sqs_errors(f"queue {queue.name}"):
                    move(client, body, queue.dead_letter_url, letter.receipt, queue.url)
                sent.add(letter.task_id)
                result.sent += 1
    return result


@contextmanager
def dead_letters(client: Any, queue: Queue) -> Iterator[Iterator[DeadLetter]]:
    """Yields the dead letters, each once; those that are still there at the end are made visible again."""
    receipts: dict[str, str] = {}

    def receive() -> Iterator[DeadLetter]:
        empty = 0
        while empty < EMPTY_ANSWERS:
            with sqs_errors(f"dead letters of queue {queue.name}"):
                found = client.receive_message(
                    QueueUrl=queue.dead_letter_url, MaxNumberOfMessages=10, VisibilityTimeout=HIDE_SECONDS, WaitTimeSeconds=1
                ).get("Messages", [])
            new = [m for m in found if m["MessageId"] not in receipts]
            receipts.update({m["MessageId"]: m["ReceiptHandle"] for m in found})
            empty = 0 if new else empty + 1
            yield from (_letter(message, queue.name) for message in new)

    try:
        yield receive()
    finally:
        for receipt in receipts.values():
            try:
                with sqs_errors("dead letters"):
                    client.change_message_visibility(QueueUrl=queue.dead_letter_url, ReceiptHandle=receipt, VisibilityTimeout=0)
            except QueueUnavailable:
                continue  # it was sent back and deleted, or is visible again by itself after HIDE_SECONDS


def choice(ledger: Ledger | None, cause: str | None, box: str | None) -> Callable[[DeadLetter], bool]:
    """Tells the dead letters of a box, or of a cause: a part of the error text, or of the text without its numbers."""

    def chosen(letter: DeadLetter) -> bool:
        if letter.message is None or (box is not None and letter.message.bbox != box):
            return False
        if cause is None:
            return True
        record = ledger.read(letter.message.bbox) if ledger else None
        return record is not None and (cause in record.error or cause in cause_of(record.error))

    return chosen


def cause_of(error: str) -> str:
    """An error text without what differs from box to box."""
    return _NUMBER.sub("#", _BOX.sub("<box>", error))


def _letter(message: dict[str, Any], queue: str) -> DeadLetter:
    try:
        task, task_id = open_envelope(message["Body"], queue)
    except MessageMalformed as error:
        return DeadLetter(message["MessageId"], message["ReceiptHandle"], problem=f"{message['MessageId']}: {error}")
    return DeadLetter(message["MessageId"], message["ReceiptHandle"], task, task_id)
