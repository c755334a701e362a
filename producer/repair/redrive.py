"""Sends dead letters back to the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.message import encode
from chunkflow_worker.job.sqs import Queue, move, sqs_errors
from producer.look.dead_letters import DeadLetter, cause_of, dead_letters

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger


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
            elif letter.task_id in sent or not chosen(
                letter
            ):  # a worker may fail a task again while this pass goes on
                result.left += 1
            else:
                body = encode(
                    letter.message.model_copy(update={"attempts": 0}), queue.name, letter.task_id
                )
                with sqs_errors(f"queue {queue.name}"):
                    move(client, body, queue.dead_letter_url, letter.receipt, queue.url)
                sent.add(letter.task_id)
                result.sent += 1
    return result


def choice(
    ledger: Ledger | None, cause: str | None, box: str | None
) -> Callable[[DeadLetter], bool]:
    """Tells the dead letters of a box, or of a cause: a part of the error text, or of the text without its numbers."""

    def chosen(letter: DeadLetter) -> bool:
        if letter.message is None or (box is not None and letter.message.bbox != box):
            return False
        if cause is None:
            return True
        record = ledger.read(letter.message.bbox) if ledger else None
        return record is not None and (cause in record.error or cause in cause_of(record.error))

    return chosen
