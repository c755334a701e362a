"""`Poller`: receives messages for Celery in a thread of its own, and outlives every fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.inbox import Inbox
from chunkflow_worker.job.message import encode
from chunkflow_worker.job.sqs import MOST_MESSAGES, Queue
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.report.access import is_denied
from chunkflow_worker.report.outage import Outage
from chunkflow_worker.service.places import Places

log = logging.getLogger(__name__)

Messages = list[dict[str, Any]]
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0  # seconds between polls that fail
_SIEVE_SECONDS = 600.0  # with messages of paused jobs alone, until polls become rare
_REST_SECONDS = 10.0  # between two such polls
_TURN_SECONDS = 1.0  # between two turns of the poll loop while all places are taken


class Poller:
    """Receives messages, one long poll at a time, and as many as there are free places.

    A poll that fails is logged once and tried again after a growing pause. While only messages of
    paused jobs come, they are put aside at full speed for ten minutes, to reach those of other jobs
    behind them. Then there is one poll in ten seconds.
    places: for the tasks of the messages; each message that is delivered has one.
    last_turn: when the poll loop last came round, by `clock`; a watchdog looks at it.
    outage: on while SQS does not answer.
    denied: called with the error when the role may not receive messages.
    """

    def __init__(self, inbox: Inbox, places: Places, *, clock: Callable[[], float] = elapsed):
        self._inbox, self.places = inbox, places
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="sqs-poll")
        self._lock = threading.Lock()
        self._waiting: dict[str, Delivery] = {}  # by receipt: received, and taken by no task yet
        self._failures = 0
        self._closing = threading.Event()
        self._clock = clock
        self.outage = Outage(f"queue {inbox.queue.name}")
        self.denied: Callable[[Exception], None] = lambda error: None
        self.last_turn = self._worked_at = clock()
        self._has_put_aside = False

    @property
    def queue(self) -> Queue:
        return self._inbox.queue

    @property
    def client(self) -> Any:
        """The SQS client for single calls."""
        return self._inbox.client

    def touch(self) -> None:
        """Note that the poll loop came round."""
        self.last_turn = self._clock()

    def start(self, deliver: Callable[[Messages], None]) -> None:
        """Start one long poll for as many messages as there are free places, once there are some.

        `deliver` is called once, from any thread, with what was received; that may be nothing.
        """

        def done(future: Future[Messages]) -> None:
            deliver([] if future.cancelled() else future.result())

        if not self._closing.is_set():
            self._threads.submit(self._fill_places).add_done_callback(done)

    def note(self, *, put_aside: bool) -> None:
        """Note what became of a message: its job is paused, or there was something to do."""
        if put_aside:
            self._has_put_aside = True
        else:
            self._worked_at = self._clock()

    def _rest(self) -> None:
        """Wait before the next poll, if for long there was nothing to do."""
        is_idle = self._has_put_aside and self._clock() - self._worked_at > _SIEVE_SECONDS
        self._has_put_aside = False
        end = monotonic() + _REST_SECONDS
        while is_idle and monotonic() < end and not self._closing.wait(_TURN_SECONDS):
            self.touch()

    def _fill_places(self) -> Messages:
        self._rest()
        count = self.places.reserve(MOST_MESSAGES, _TURN_SECONDS)
        if count == 0:
            return []
        messages = [] if self._closing.is_set() else self.poll(count)
        self.places.release(count - len(messages))
        return messages

    def poll(self, count: int) -> Messages:
        """Wait for messages; returns them as kombu takes them from boto3. Never raises."""
        try:
            deliveries = self._inbox.receive(count).deliveries
        except Exception as error:
            self._failures += 1
            self.outage.failed(error)
            if is_denied(error):
                self.denied(error)
            pause = _FIRST_PAUSE * 2 ** (min(self._failures, 5) - 1)
            self._closing.wait(min(_LONGEST_PAUSE, pause))
            return []
        finally:
            self.touch()
        self.outage.answered()
        self._failures = 0
        return [self._for_celery(delivery) for delivery in deliveries if self._keep(delivery)]

    def take(self, message: dict[str, Any]) -> bool:
        """Hand a message over to Celery; False when it was released because the worker stops."""
        with self._lock:
            return self._waiting.pop(message["ReceiptHandle"], None) is not None

    def refuse(self, message: dict[str, Any]) -> None:
        """Release a message that Celery can't take, and its place."""
        with self._lock:
            delivery = self._waiting.pop(message["ReceiptHandle"], None)
        if delivery is not None:
            self._inbox.release(delivery)
            self.places.release()

    def close(self) -> None:
        """Stop receiving: wait for the running poll, and release what no task has taken."""
        self._closing.set()
        self.places.interrupt()
        self._threads.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
        for delivery in left:
            self._inbox.release(delivery)

    def _keep(self, delivery: Delivery) -> bool:
        """Keep a delivery until a task takes it; release it when the worker stops."""
        with self._lock:
            if not self._closing.is_set():
                self._waiting[delivery.receipt] = delivery
                return True
        self._inbox.release(delivery)
        return False

    def _for_celery(self, delivery: Delivery) -> dict[str, Any]:
        """An envelope of our own: any field of the sender's could end Celery's consumer."""
        return {
            "MessageId": delivery.message_id,
            "ReceiptHandle": delivery.receipt,
            "Body": encode(delivery.message, self.queue.name, delivery.task_id),
            "Attributes": {"ApproximateReceiveCount": str(delivery.receives)},
            "Delivery": delivery,
        }
