"""kombu's SQS transport with a receive path that outlives every fault.

kombu 5.7 polls with a libcurl client of its own: one 5xx or reset ends the worker, an expired token or a half-open
connection makes it deaf, and a message without an id ends Celery's consumer. Here boto3 receives, in one thread, with
its timeouts, retries and credential refresh; whatever still fails is logged and polled again; and a message is checked
whole before Celery sees it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from kombu.transport import SQS, virtual
from vine import promise

from chunkflow_worker.job.message import encode, open_envelope
from chunkflow_worker.job.sqs import Queue, make_client, move
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

Messages = list[dict[str, Any]]


class Poller:
    """Receives messages in a thread of its own. One per process; `configure` it before the worker starts."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="sqs-poll")
        self._lock = threading.Lock()
        self._in_hand: dict[str, str] = {}
        self._failures = 0
        self._closing = threading.Event()
        self.outage = Outage("queue")
        self.last_turn = monotonic()

    def configure(self, queue: Queue, region: str, poll_seconds: int) -> None:
        self.queue, self._poll_seconds = queue, poll_seconds
        self.outage = Outage(f"queue {queue.name}")
        self.client = make_client(region)
        self._receiver = make_client(region, read_seconds=poll_seconds + 5)

    def receive(self, count: int, deliver: Callable[[Messages], None]) -> None:
        """Start one long poll; `deliver` is called in the polling thread with what came, be it nothing."""

        def done(future: Future[Messages]) -> None:
            deliver([] if future.cancelled() else future.result())

        if not self._closing.is_set():
            self._threads.submit(self._receive, count).add_done_callback(done)

    def take(self, message: dict[str, Any]) -> bool:
        """Hand a message over to Celery; False when it was released meanwhile, since the worker stops."""
        with self._lock:
            return self._in_hand.pop(message["ReceiptHandle"], None) is not None

    def close(self) -> None:
        """Stop receiving: wait for the running poll, and make visible again what no task has taken."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            left, self._in_hand = list(self._in_hand), {}
        for receipt in left:
            self._release(receipt)

    def _receive(self, count: int) -> Messages:
        try:
            answer = self._receiver.receive_message(
                QueueUrl=self.queue.url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=self._poll_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except Exception as error:
            self._failures += 1
            self.outage.failed(error)
            self._closing.wait(min(10.0, 0.5 * 2 ** min(self._failures, 5)))
            return []
        finally:
            self.last_turn = monotonic()
        self.outage.answered()
        self._failures = 0
        return [message for message in answer.get("Messages", []) if self._accept(message)]

    def _accept(self, message: dict[str, Any]) -> bool:
        """Take a message in hand, or refuse it: malformed ones go to the dead letters, late ones back to the queue."""
        try:
            task, task_id = open_envelope(message["Body"], self.queue.name)
        except (
            Exception
        ) as error:  # whatever is wrong with it, it must not reach Celery, nor end this thread
            log.error(
                "refused message %s, moved to the dead letters: %s", message.get("MessageId"), error
            )
            try:
                move(
                    self.client,
                    message["Body"],
                    self.queue.url,
                    message["ReceiptHandle"],
                    self.queue.dead_letter_url,
                )
            except Exception as failure:
                log.warning("it stays in the queue until SQS moves it itself: %s", failure)
            return False
        # Celery reads an envelope of ours and never the sender's, of which any field could end its consumer.
        message["Body"] = encode(task, self.queue.name, task_id)
        with self._lock:
            if not self._closing.is_set():
                self._in_hand[message["ReceiptHandle"]] = message["MessageId"]
                return True
        self._release(message["ReceiptHandle"])
        return False

    def _release(self, receipt: str) -> None:
        try:
            self.client.change_message_visibility(
                QueueUrl=self.queue.url, ReceiptHandle=receipt, VisibilityTimeout=0
            )
        except Exception as error:
            log.warning(
                "a received message returns only when its visibility timeout ends: %s", error
            )


poller = Poller()


class Channel(SQS.Channel):
    """Receives through the `Poller`, and leaves what becomes of a message to its lease."""

    do_restore = False  # kombu would make the messages of running tasks visible when it shuts down

    def _get_async(self, queue: str, count: int = 1, callback: Any = None) -> Any:
        def deliver(messages: Messages) -> None:
            hub = self.hub
            assert hub is not None  # this channel is used by Celery's worker alone
            hub.call_soon(promise(self._take, (queue, messages, callback)))

        poller.receive(count, deliver)
        return callback

    def _schedule_queue(self, queue: str) -> None:
        poller.last_turn = monotonic()
        super()._schedule_queue(queue)

    def _take(self, queue: str, messages: Messages, callback: Any) -> None:
        kept = [message for message in messages if poller.take(message)]
        callback(self._on_messages_ready(poller.queue.url, queue, {"Messages": kept}))

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        """Free Celery's place for a further message. The worker has settled the message itself: see lease.py."""
        virtual.Channel.basic_ack(self, delivery_tag, multiple)

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        virtual.Channel.basic_reject(self, delivery_tag, requeue=False)

    def sqs(self, queue: str | None = None) -> Any:
        return poller.client


class Transport(SQS.Transport):
    Channel = Channel
    polling_interval = 0.2  # type: ignore[assignment]  # kombu counts fractions of a second, too
