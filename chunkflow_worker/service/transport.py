"""kombu's SQS transport with a receive path that outlives every fault.

kombu 5.7 polls with a libcurl client of its own: one 5xx or reset ends the worker, an expired token
or a half-open connection makes it stop receiving, and a message without an id ends Celery's
consumer. Here a `Poller` receives with boto3, with its timeouts, retries and credential refresh;
whatever still fails is logged and polled again; and a message is checked as a whole before Celery
sees it.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import SQS, virtual
from vine import promise

from chunkflow_worker.service.poller import Messages, Poller

POLLER = "poller"  # the transport option that holds it


class Channel(SQS.Channel):
    """Receives through the `Poller`, and leaves each message to its lease."""

    do_restore = False  # kombu would make the messages of running tasks visible when it shuts down

    @property
    def poller(self) -> Poller:
        poller: Poller = self.transport_options[POLLER]
        return poller

    def _get_async(self, queue: str, count: int = 1, callback: Any = None) -> Any:
        def deliver(messages: Messages) -> None:
            hub = self.hub
            assert hub is not None  # this channel is used by Celery's worker alone
            hub.call_soon(promise(self._take, (queue, messages, callback)))

        self.poller.start(count, deliver)
        return callback

    def _schedule_queue(self, queue: str) -> None:
        self.poller.touch()
        super()._schedule_queue(queue)

    def _take(self, queue: str, messages: Messages, callback: Any) -> None:
        taken = [message for message in messages if self.poller.take(message)]
        callback(self._on_messages_ready(self.poller.queue.url, queue, {"Messages": taken}))

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        """Free Celery's place for another message; the worker has settled this one: see lease.py"""
        virtual.Channel.basic_ack(self, delivery_tag, multiple)

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        virtual.Channel.basic_reject(self, delivery_tag, requeue=False)

    def sqs(self, queue: str | None = None) -> Any:
        return self.poller.client


class Transport(SQS.Transport):
    Channel = Channel
    polling_interval = 0.2  # type: ignore[assignment]  # kombu counts fractions of a second, too
