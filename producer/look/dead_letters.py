"""`dead_letters`: reads the dead-letter queue and leaves every message in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.sqs import (
    Queue,
    QueueRefused,
    QueueUnavailable,
    receive,
    sqs_errors,
)

log = logging.getLogger(__name__)

HIDE_SECONDS = 900  # a pass must end before the first message that it read is visible again
WAIT_SECONDS = 1
EMPTY_ANSWERS = 2  # in a row, until all messages count as read: one answer of SQS may miss some


@dataclass(frozen=True)
class DeadLetter:
    """A message in the dead-letter queue.

    delivery: None for a malformed message; `problem` then says what is wrong with it.
    receipt: by which SQS knows this receive.
    sent: when it was first sent, in UTC and ISO 8601; empty when SQS does not say.
    """

    delivery: Delivery | None
    problem: str = ""
    sent: str = ""
    receipt: str = ""


@contextmanager
def dead_letters(client: Any, queue: Queue) -> Iterator[Iterator[DeadLetter]]:
    """Yield an iterator over the dead letters, each of them once.

    While they are read, others cannot see them. At the end, those that are still in the queue
    become visible again. The iterator raises QueueUnavailable.
    """
    receipts: dict[str, str] = {}

    def read() -> Iterator[DeadLetter]:
        empty = 0
        while empty < EMPTY_ANSWERS:
            with sqs_errors(f"dead letters of queue {queue.name}"):
                messages = receive(client, queue.dead_letter_url, 10, WAIT_SECONDS, HIDE_SECONDS)
            new = [message for message in messages if message["MessageId"] not in receipts]
            for message in messages:
                receipts[message["MessageId"]] = message["ReceiptHandle"]
            empty = 0 if new else empty + 1
            yield from (_dead_letter(message, queue.name) for message in new)

    try:
        yield read()
    finally:
        _make_visible(client, queue, receipts.values())


def _make_visible(client: Any, queue: Queue, receipts: Iterable[str]) -> None:
    for receipt in receipts:
        try:
            with sqs_errors(f"the dead letters stay hidden for {HIDE_SECONDS // 60} minutes"):
                client.change_message_visibility(
                    QueueUrl=queue.dead_letter_url, ReceiptHandle=receipt, VisibilityTimeout=0
                )
        except QueueRefused as error:
            log.warning("%s", error)
            return
        except QueueUnavailable:
            pass  # it was deleted meanwhile, or it becomes visible by itself after HIDE_SECONDS


def _dead_letter(message: dict[str, Any], queue: str) -> DeadLetter:
    sent, receipt = _sent(message), message["ReceiptHandle"]
    try:
        return DeadLetter(Delivery.open(message, queue), sent=sent, receipt=receipt)
    except MessageMalformed as error:
        return DeadLetter(None, f"{message['MessageId']}: {error}", sent, receipt)


def _sent(message: dict[str, Any]) -> str:
    milliseconds = message.get("Attributes", {}).get("SentTimestamp")
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).isoformat(timespec="seconds")
