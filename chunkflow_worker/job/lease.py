"""`Lease`: keeps an SQS message hidden while its task runs, and settles it afterwards."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS, Queue, move, sqs_errors
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_HALT_SECONDS = 30.0
_RENEWALS = 3  # in the span of one lease

_LOST_CODES = {
    "InvalidParameterValue",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "ReceiptHandleIsInvalid",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}


class Lease:
    """One received message, hidden from other workers as long as the lease is held.

    The message is settled once: acknowledged, given back, moved to the dead-letter queue, or left
    to become visible after a delay. Nothing is done to a message whose lease was lost.

    client: of SQS.
    seconds: how long each renewal hides the message; it is renewed three times in that span. The
        message of a worker that dies stays hidden for at most this long.
    limit: seconds since the receive for which SQS hides a message at most.
    heartbeat: the client for renewals. It should not retry by itself, since a failed renewal is
        soon tried again; `client` when not given.
    outage: logs when renewals fail and when they work again; leases may share one.
    lost: set when the message may be visible to other workers: SQS said so, no renewal succeeded
        in time, or `limit` was reached.
    lost_at: when that happened, by `clock`.
    """

    def __init__(
        self,
        client: Any,
        queue: Queue,
        delivery: Delivery,
        seconds: int,
        *,
        limit: float = MAX_VISIBILITY_SECONDS,
        heartbeat: Any = None,
        outage: Outage | None = None,
        clock: Callable[[], float] = monotonic,
    ):
        self.delivery = delivery
        self.lost = threading.Event()
        self.lost_at: float | None = None
        self._client, self._heartbeat = client, heartbeat or client
        self._queue, self._seconds = queue, seconds
        self._outage = outage or Outage("SQS (lease renewal)")
        self._clock = clock
        self._end = clock() + limit
        self._hidden_until = clock() + seconds
        self._halted = threading.Event()
        self._settling = threading.Lock()
        self._settled = False
        self._thread = threading.Thread(target=self._renew_until_halted, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._hidden_until = self._clock() + self._seconds
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
        """Raises LeaseLost when another worker may hold the message by now."""
        if self.lost.is_set():
            raise LeaseLost("the lease on the message expired")

    def acknowledge(self) -> None:
        """Delete the message: its task is done. Never raises.

        If SQS is away, the message comes back and its task is found done.
        """
        self._halt()
        with self._settling:
            if self._is_over:
                return
            self._settled = True
            receipt = self.delivery.receipt
            try:
                self._client.delete_message(QueueUrl=self._queue.url, ReceiptHandle=receipt)
            except Exception as error:
                log.warning(
                    "message not deleted; SQS will deliver it again, and its task will count as "
                    "done: %s",
                    error,
                )

    def set_delay(self, seconds: int) -> None:
        """Stop renewing and let the message become visible after `seconds`. Never raises.

        If SQS is away, the message becomes visible when the lease expires.
        """
        self._halt()
        with self._settling:
            if self._is_over:
                return
            try:
                self._hide(self._client, seconds)
            except Exception as error:
                log.warning(
                    "backoff not set; the message becomes visible again when its lease expires: %s",
                    error,
                )

    def give_back(self) -> None:
        """Replace the message by a copy that is visible at once; this costs it no attempt.

        Raises QueueUnavailable when SQS is away; the message then becomes visible again when its
        lease expires.
        """
        body = self.delivery.same_again(self._queue.name)
        self._move(body, self._queue.url, "giving a message back")

    def dead_letter(self) -> None:
        """Move the message to the dead-letter queue. Raises QueueUnavailable."""
        body = self.delivery.fresh(self._queue.name)
        where = self._queue.dead_letter_url
        self._move(body, where, "moving a message to the dead-letter queue")

    def renew(self) -> float | None:
        """Hide the message for a further span; returns the seconds until the next renewal.

        None when the lease is lost.
        """
        began = self._clock()
        seconds = min(self._seconds, int(self._end - began))
        if seconds < 1:
            hours = MAX_VISIBILITY_SECONDS // 3600
            self._lose(f"SQS hides a message for {hours} hours at most: use smaller chunks")
            return None
        try:
            self._hide(self._heartbeat, seconds)
        except Exception as error:
            if (code := _code_of(error)) in _LOST_CODES:
                self._lose(f"SQS says {code}")
                return None
            self._outage.failed(error)
            pause = min(self._seconds / _RENEWALS, _RETRY_SECONDS)
        else:
            self._hidden_until = began + seconds
            self._outage.answered()
            pause = self._seconds / _RENEWALS
        if self._clock() >= self._hidden_until:
            self._lose("no renewal succeeded")
            return None
        return pause

    @property
    def _is_over(self) -> bool:
        return self._settled or self.lost.is_set()

    def _move(self, body: str, url: str, what: str) -> None:
        self._halt()
        with self._settling, sqs_errors(what):
            if not self._is_over:
                move(self._client, body, self._queue.url, self.delivery.receipt, url)
                self._settled = True

    def _halt(self) -> None:
        """Stop renewing: no renewal may follow when the message is settled."""
        self._halted.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_HALT_SECONDS)

    def _hide(self, client: Any, seconds: int) -> None:
        client.change_message_visibility(
            QueueUrl=self._queue.url,
            ReceiptHandle=self.delivery.receipt,
            VisibilityTimeout=seconds,
        )

    def _renew_until_halted(self) -> None:
        while not self._halted.is_set():
            pause = self.renew()
            if pause is None:
                return
            self._halted.wait(pause)

    def _lose(self, why: str) -> None:
        self.lost_at = self._clock()
        self.lost.set()
        log.error("lease lost, another worker may take the task: %s", why)


def _code_of(error: Exception) -> str:
    response = getattr(error, "response", None) or {}  # connection errors have one that is None
    return str(response.get("Error", {}).get("Code", ""))
