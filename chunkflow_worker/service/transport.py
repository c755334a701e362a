"""kombu's SQS transport with a receive path that outlives every fault.

kombu 5.7 polls with a libcurl client of its own: one 5xx or reset ends the worker, an expired token
or a half-open connection makes it stop receiving, and a message without an id ends Celery's
consumer. Here a `Poller` receives with boto3, with its timeouts, retries and credential refresh;
whatever still fails is logged and polled again; and a message is checked as a whole before Celery
sees it.
"""

from __future__ import annotations

import os
from functools import cache, partial
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

    def _schedule_queue(self, queue: str) -> None:
        """Receive, again and again, for as long as somebody consumes the queue.

        kombu would wait for its polling interval, and count places by acknowledgements.
        """
        self.poller.touch()
        if queue in self._active_queues:
            self.poller.start(partial(self._deliver, queue))

    def _deliver(self, queue: str, messages: Messages) -> None:
        """Pass messages from any thread to that of the event loop."""
        hub = self.hub
        assert hub is not None  # this channel is used by Celery's worker alone
        hub.call_soon(promise(self._take, (queue, messages)))

    def _take(self, queue: str, messages: Messages) -> None:
        consume = self.connection._callbacks.get(queue)
        for message in messages:
            if consume is None:
                self.poller.refuse(message)
            elif self.poller.take(message):
                consume(self._message_to_python(message, queue, self.poller.queue.url))
        self._schedule_queue(queue)

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        """Let Celery forget the message; the worker has settled it: see lease.py"""
        virtual.Channel.basic_ack(self, delivery_tag, multiple)

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        virtual.Channel.basic_reject(self, delivery_tag, requeue=False)

    def sqs(self, queue: str | None = None) -> Any:
        return self.poller.client


class Transport(SQS.Transport):
    Channel = Channel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let other threads wake the event loop.

        They can while it waits for something to read; until it has that, it sleeps for a tenth of a
        second at a time. Here it gets something of which nothing ever comes.
        """
        loop.add_reader(_silent_pipe(), lambda: None)


@cache
def _silent_pipe() -> int:
    """The end to read of a pipe that nobody writes to while the process lives."""
    reader, _ = os.pipe()
    return reader
