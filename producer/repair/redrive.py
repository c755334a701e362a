"""`redrive`: sends dead letters back to the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.cause import cause_of
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.sqs import Queue, move, sqs_errors
from producer.look.dead_letters import dead_letters

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger


@dataclass
class Redriven:
    """The result of `redrive`.

    sent: messages that were sent back. left: task messages that stay in the dead-letter queue.
    jobs: those of the messages that were sent.
    malformed: what is wrong with each message that no worker can run; they stay there too.
    """

    sent: int = 0
    left: int = 0
    jobs: set[str] = field(default_factory=set)
    malformed: list[str] = field(default_factory=list)


def redrive(client: Any, queue: Queue, chosen: Callable[[TaskMessage], bool]) -> Redriven:
    """Send the chosen dead letters back to the queue, with no attempts spent; leave the others.

    Each message is sent before it is deleted. After a crash in between, the queue has it twice, but
    none is lost. Raises QueueUnavailable.
    """
    result = Redriven()
    sent: set[str] = set()
    with dead_letters(client, queue) as letters:
        for letter in letters:
            delivery = letter.delivery
            if delivery is None:
                result.malformed.append(letter.problem)
                continue
            # A worker may fail a task again while this pass goes on; it is sent only once.
            if delivery.task_id in sent or not chosen(delivery.message):
                result.left += 1
                continue
            body = delivery.fresh(queue.name)
            with sqs_errors(f"queue {queue.name}"):
                move(client, body, queue.dead_letter_url, delivery.receipt, queue.url)
            sent.add(delivery.task_id)
            result.sent += 1
            result.jobs.add(delivery.message.job)
    return result


def matcher(
    ledger: Ledger | None,
    cause: str | None = None,
    box: str | None = None,
    job: str | None = None,
    stage: str = "",
) -> Callable[[TaskMessage], bool]:
    """A function that chooses the messages of a cause, a box and a job; None stands for any.

    stage: of a pipeline file; empty for any.

    cause: part of the error text in the ledger, or of the text without boxes and numbers.
    The function raises StorageUnavailable when it cannot read the ledger.
    """

    def matches(message: TaskMessage) -> bool:
        if (box or message.bbox, job or message.job) != (message.bbox, message.job):
            return False
        if stage and message.stage != stage:
            return False
        if cause is None:
            return True
        record = ledger.read(message.bbox) if ledger else None
        return record is not None and (cause in record.error or cause in cause_of(record.error))

    return matches
