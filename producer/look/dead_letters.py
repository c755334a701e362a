"""`dead_letters`: reads the dead-letter queue and leaves every message in it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.many_messages import AT_ONCE, show_messages
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

    def may_be_of(self, stage: str) -> bool:
        """Whether it is of this stage, or malformed so that nobody knows; empty for any stage."""
        return not stage or self.delivery is None or self.delivery.message.stage == stage


@contextmanager
def dead_letters(client: Any, queue: Queue) -> Iterator[Iterator[DeadLetter]]:
    """Yield an iterator over the dead letters, each of them once.

    While they are read, others cannot see them. At the end, those that are still in the queue
    become visible again. The iterator raises QueueUnavailable.
    """
    receipts: dict[str, str] = {}

    def read_some(_: int) -> list[dict[str, Any]]:
        with sqs_errors(f"dead letters of queue {queue.name}"):
            return receive(client, queue.dead_letter_url, 10, WAIT_SECONDS, HIDE_SECONDS)

    def read() -> Iterator[DeadLetter]:
        empty, at_once = 0, 1
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while empty < EMPTY_ANSWERS:
                answers = list(pool.map(read_some, range(at_once)))
                messages = [message for answer in answers for message in answer]
                new = {m["MessageId"]: m for m in messages if m["MessageId"] not in receipts}
                receipts.update((m["MessageId"], m["ReceiptHandle"]) for m in messages)
                empty = 0 if new else empty + 1
                at_once = min(2 * at_once, AT_ONCE) if len(new) >= 10 * at_once else 1
                yield from (_dead_letter(message, queue.name) for message in new.values())

    try:
        yield read()
    finally:
        _make_visible(client, queue, receipts.values())


def _make_visible(client: Any, queue: Queue, receipts: Collection[str]) -> None:
    """Those that were deleted meanwhile stay so; others become visible by themselves at last."""
    if not receipts:
        return
    subject = f"the dead letters stay hidden for {HIDE_SECONDS // 60} minutes"
    try:
        with sqs_errors(subject):
            for _ in show_messages(client, queue.dead_letter_url, receipts):
                pass
    except QueueRefused as error:
        log.warning("%s", error)
    except QueueUnavailable:
        pass


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
