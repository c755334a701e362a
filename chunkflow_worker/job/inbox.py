"""`Inbox`: receives the messages of a queue, and refuses those that are malformed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from itertools import count as counting
from typing import Any, NamedTuple

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.sqs import Queue, move, receive, sqs_errors
from chunkflow_worker.machine.clock import elapsed

_NORMAL_FIRST = 4  # of so many calls, one asks the queue of normal priority first

log = logging.getLogger(__name__)


class Received(NamedTuple):
    """What one call received. refused: number of malformed messages beside the deliveries."""

    deliveries: list[Delivery]
    refused: int = 0


@dataclass(frozen=True)
class Inbox:
    """The receiving end of a queue. Methods may run in several threads.

    If the queue has one for high priority, that is asked first, three times out of four. So a
    stream of messages of high priority slows the others down, and does not stop them.

    client: of SQS, for single calls. receiver: of SQS, for long polls of `wait_seconds`.
    visibility_seconds: how long a received message is hidden; None for the queue's own timeout.
    plain_boxes: also accept messages that are only a bounding box.
    clock: of the leases.
    """

    client: Any
    receiver: Any
    queue: Queue
    wait_seconds: int
    visibility_seconds: int | None = None
    plain_boxes: bool = False
    clock: Callable[[], float] = elapsed
    _calls: Iterator[int] = attribute(default_factory=counting, repr=False, compare=False)

    def receive(self, count: int = 1) -> Received:
        """Wait for messages, at most `count`; malformed ones go to the dead-letter queue.

        Raises QueueUnavailable.
        """
        *others, last = self._in_turn()
        for url in others:
            received = self._receive(url, count, 0)
            if received.deliveries or received.refused:
                return received
        return self._receive(last, count, self.wait_seconds)

    def _in_turn(self) -> tuple[str, ...]:
        """The URLs of the queues to ask until one has messages; the last is waited for."""
        is_normal_first = next(self._calls) % _NORMAL_FIRST == _NORMAL_FIRST - 1
        return self.queue.urls if is_normal_first else self.queue.urls[::-1]

    def _receive(self, url: str, count: int, wait_seconds: int) -> Received:
        queue = self.queue.at(url)
        with sqs_errors(f"queue {queue.place}"):
            messages = receive(self.receiver, url, count, wait_seconds, self.visibility_seconds)
        hidden_seconds = self.visibility_seconds or queue.visibility_seconds
        hidden_until = self.clock() + hidden_seconds
        deliveries = [
            replace(delivery, source=url, hidden_until=hidden_until)
            for delivery in self._well_formed(messages, url)
        ]
        return Received(deliveries, len(messages) - len(deliveries))

    def _well_formed(self, messages: list[dict[str, Any]], url: str) -> Iterator[Delivery]:
        for message in messages:
            try:
                yield Delivery.open(message, self.queue.name, plain_boxes=self.plain_boxes)
            except Exception as error:  # whatever is wrong with it, it must not stop a worker
                self._refuse(message, url, error)

    def _refuse(self, message: dict[str, Any], url: str, error: Exception) -> None:
        message_id = message.get("MessageId")
        log.error("refused message %s, moved to the dead-letter queue: %s", message_id, error)
        body, receipt = message["Body"], message["ReceiptHandle"]
        try:
            move(self.client, body, url, receipt, self.queue.dead_letter_url)
        except Exception as failure:  # the well-formed messages received with it must not be lost
            log.warning("the message stays in the queue until SQS moves it: %s", failure)

    def release(self, delivery: Delivery) -> None:
        """Make a message visible again that no task has taken. Never raises."""
        try:
            self.client.change_message_visibility(
                QueueUrl=delivery.source or self.queue.url,
                ReceiptHandle=delivery.receipt,
                VisibilityTimeout=0,
            )
        except Exception as error:
            log.warning(
                "a received message becomes visible only when its visibility timeout expires: %s",
                error,
            )
