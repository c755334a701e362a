"""Dead letters, looked at without losing any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.job.message import TaskMessage, open_envelope
from chunkflow_worker.job.sqs import Queue, QueueUnavailable, sqs_errors

HIDE_SECONDS = (
    900  # a pass over the dead letters must end before the first of them is visible again
)
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


@contextmanager
def dead_letters(client: Any, queue: Queue) -> Iterator[Iterator[DeadLetter]]:
    """Yields the dead letters, each once; those that are still there at the end are made visible again."""
    receipts: dict[str, str] = {}

    def receive() -> Iterator[DeadLetter]:
        empty = 0
        while empty < EMPTY_ANSWERS:
            with sqs_errors(f"dead letters of queue {queue.name}"):
                found = client.receive_message(
                    QueueUrl=queue.dead_letter_url,
                    MaxNumberOfMessages=10,
                    VisibilityTimeout=HIDE_SECONDS,
                    WaitTimeSeconds=1,
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
                    client.change_message_visibility(
                        QueueUrl=queue.dead_letter_url, ReceiptHandle=receipt, VisibilityTimeout=0
                    )
            except QueueUnavailable:
                continue  # it was sent back and deleted, or is visible again by itself after HIDE_SECONDS


def cause_of(error: str) -> str:
    """An error text without what differs from box to box."""
    return _NUMBER.sub("#", _BOX.sub("<box>", error))


def _letter(message: dict[str, Any], queue: str) -> DeadLetter:
    try:
        task, task_id = open_envelope(message["Body"], queue)
    except MessageMalformed as error:
        return DeadLetter(
            message["MessageId"],
            message["ReceiptHandle"],
            problem=f"{message['MessageId']}: {error}",
        )
    return DeadLetter(message["MessageId"], message["ReceiptHandle"], task, task_id)
