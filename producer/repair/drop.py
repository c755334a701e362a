"""`drop`: deletes dead letters that nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chunkflow_worker.job.many_messages import delete_messages
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.sqs import Queue, sqs_errors
from producer.look.dead_letters import DeadLetter, dead_letters


def drop(
    client: Any,
    queue: Queue,
    chosen: Callable[[TaskMessage], bool],
    confirm: Callable[[int], object] = lambda count: None,
    *,
    malformed: bool = False,
) -> tuple[int, int]:
    """Delete the chosen dead letters; returns how many were deleted, and how many are left.

    malformed: messages that no worker can run are chosen, too.
    confirm: called with their number before they are deleted; what it raises ends this, and all
        dead letters stay.
    Raises QueueUnavailable.
    """

    def is_chosen(letter: DeadLetter) -> bool:
        return malformed if letter.delivery is None else chosen(letter.delivery.message)

    with dead_letters(client, queue) as letters:
        found = [(letter.receipt, is_chosen(letter)) for letter in letters]
        receipts = [receipt for receipt, is_wanted in found if is_wanted]
        if receipts:
            confirm(len(receipts))
        with sqs_errors(f"dead letters of queue {queue.name}"):
            kept = len(list(delete_messages(client, queue.dead_letter_url, receipts)))
    return len(receipts) - kept, len(found) - len(receipts) + kept
