"""`Lease`: keeps an SQS message hidden while its task runs, and gives it back when the worker must stop."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from types import TracebackType
from typing import Any

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS, Queue, move, sqs_errors
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0

_GONE = {
    "InvalidParameterValue",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "ReceiptHandleIsInvalid",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}


class Lease:
    """One received message, hidden from other workers as long as the lease is held.

    client: of SQS. heartbeat: one for the renewals, which should not retry by itself, since a renewal that fails is tried
        again soon; `client` when not given.
    seconds: how long each renewal hides the message; renewed three times in that span. A worker that dies leaves its
        message hidden for at most this long.
    outage: tells the log when renewals fail and work again; share one between leases.
    lost: set when the message may be visible to others: SQS said so, no renewal got through in time, or SQS's limit of
        12 hours since the receive was reached.
    """

    def __init__(
        self,
        client: Any,
        queue: Queue,
        receipt: str,
        seconds: int,
        limit: float = MAX_VISIBILITY_SECONDS,
        heartbeat: Any = None,
        outage: Outage | None = None,
    ):
        self._client, self._heartbeat = client, heartbeat or client
        self._queue, self._receipt, self._seconds = queue, receipt, seconds
        self._end = monotonic() + limit
        self._outage = outage or Outage("SQS (lease renewal)")
        self.lost_at: float | None = None
        self._stop = threading.Event()
        self._settled = threading.Lock()
        self._over = False
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._halt()

    def check(self) -> None:
        """Raises LeaseLost when the message may be someone else's by now."""
        if self.lost.is_set():
            raise LeaseLost("the lease on the message ran out")

    def acknowledge(self) -> None:
        """Delete the message: its task is done. If SQS is away, it comes back and is found done."""
        self._halt()
        with self._settled:
            if self._over or self.lost.is_set():
                return
            self._over = True
            try:
                self._client.delete_message(QueueUrl=self._queue.url, ReceiptHandle=self._receipt)
            except Exception as error:
                log.warning("message not deleted, it will come back and be found done: %s", error)

    def set_delay(self, seconds: int) -> None:
        """Stop renewing and let the message become visible after `seconds`. If SQS is away, the lease just runs out."""
        self._halt()
        with self._settled:
            if self._over or self.lost.is_set():
                return
            try:
                self._set_visibility(self._client, seconds)
            except Exception as error:
                log.warning("backoff not set, the message returns when its lease ends: %s", error)

    def give_back(self, body: str) -> None:
        """Put a fresh copy of the message on the queue and delete this one, so that the stop costs it no receive.

        Raises QueueUnavailable when SQS is away; the message then returns when its lease ends.
        """
        self._halt()
        with self._settled, sqs_errors("giving a message back"):
            if not self._over and not self.lost.is_set():
                move(self._client, body, self._queue.url, self._receipt, self._queue.url)
                self._over = True

    def dead_letter(self, body: str) -> None:
        """Move the message to the dead-letter queue. Raises QueueUnavailable."""
        self._halt()
        with self._settled, sqs_errors("moving a message to the dead-letter queue"):
            if not self._over and not self.lost.is_set():
                move(
                    self._client, body, self._queue.url, self._receipt, self._queue.dead_letter_url
                )
                self._over = True

    def _halt(self) -> None:
        """No renewal may land after the message was acknowledged or its visibility set."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(30)

    def _set_visibility(self, client: Any, seconds: int) -> None:
        client.change_message_visibility(
            QueueUrl=self._queue.url, ReceiptHandle=self._receipt, VisibilityTimeout=seconds
        )

    def _keep(self) -> None:
        hidden_until = monotonic() + self._seconds
        while not self._stop.is_set():
            began = monotonic()
            seconds = min(self._seconds, int(self._end - began))
            if seconds < 1:
                self._lose(
                    f"SQS hides a message for {MAX_VISIBILITY_SECONDS // 3600} hours at most: use smaller chunks"
                )
                return
            try:
                self._set_visibility(self._heartbeat, seconds)
                hidden_until = began + seconds
                pause = self._seconds / 3
                self._outage.answered()
            except Exception as error:
                answer = (
                    getattr(error, "response", None) or {}
                )  # connection errors have one that is None
                code = answer.get("Error", {}).get("Code", "")
                if code in _GONE:
                    self._lose(f"SQS says {code}")
                    return
                self._outage.failed(error)
                pause = min(self._seconds / 3, _RETRY_SECONDS)
            if monotonic() >= hidden_until:
                self._lose("no renewal got through")
                return
            self._stop.wait(pause)

    def _lose(self, why: str) -> None:
        self.lost_at = monotonic()
        self.lost.set()
        log.error("lease lost, another worker may take the task: %s", why)
