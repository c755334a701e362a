"""`Lease`: keeps an SQS message hidden while its task runs, and settles it afterwards."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from chunkflow_worker.errors import LeaseLost
from chunkflow_worker.job.deleter import Deleter
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.sqs import MAX_VISIBILITY_SECONDS, Queue, move, sqs_errors
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.report.access import is_denied, meaning
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_HALT_SECONDS = 30.0
_LONG_WAIT_SECONDS = 60  # until the next attempt
_RENEWALS = 3  # in the span of one lease
_NOT_RENEWED = "it was not renewed in time: the process stood still, or SQS was away"

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

    A lease is a matter of time: it ends when the last renewal runs out, whatever its threads were
    doing, and a lease that has ended is lost for good. When SQS does not answer renewals, `hold`
    keeps others from the task instead, and the time of the lease goes on with it. Then the task may
    end although SQS makes the message visible again; what is left of the message comes back, and
    the task is found done.

    client: of SQS.
    seconds: how long each renewal hides the message; it is renewed three times in that span. The
        message of a worker that dies stays hidden for at most this long.
    limit: seconds since the receive for which SQS hides a message at most.
    delete: deletes a message by its receipt handle, and raises what boto3 raises; `client` does it
        when not given.
    heartbeat: the client for renewals. It should not retry by itself, since a failed renewal is
        soon tried again; `client` when not given.
    hold: keeps the task from other workers for so many seconds, by other means than SQS; raises
        when it fails. Without one, a lease ends with the last renewal that SQS answered.
    denied: called with the error when the role may not renew leases, or delete messages.
    outage: logs when renewals fail and when they work again; leases may share one.
    lost: set when another worker may have the task: SQS said so, no renewal succeeded in time, the
        process stood still for too long, or `limit` was reached.
    lost_at: when that was noticed, by `clock`.
    was_held: whether `hold` was of use, and what it made is to be removed.
    """

    def __init__(
        self,
        client: Any,
        queue: Queue,
        delivery: Delivery,
        seconds: int,
        *,
        limit: float = MAX_VISIBILITY_SECONDS,
        delete: Callable[[str], object] | None = None,
        heartbeat: Any = None,
        outage: Outage | None = None,
        hold: Callable[[int], None] | None = None,
        denied: Callable[[Exception], None] = lambda error: None,
        clock: Callable[[], float] = elapsed,
    ):
        queue = queue.at(delivery.source or queue.url)
        self.delivery = delivery
        self.lost = threading.Event()
        self.lost_at: float | None = None
        self.was_held = False
        self._why_lost = ""
        self._client, self._heartbeat = client, heartbeat or client
        self._delete = delete or Deleter(client, queue.url).delete
        self._queue, self._seconds = queue, seconds
        self._outage = outage or Outage("SQS (lease renewal)")
        self._hold, self._denied = hold, denied
        self._clock = clock
        self._end = clock() + limit
        hidden_until = delivery.hidden_until
        self._hidden_until = clock() + seconds if hidden_until is None else hidden_until
        self._held_until = 0.0
        self._message_is_gone = False
        self._losing = threading.Lock()
        self._halted = threading.Event()
        self._settling = threading.Lock()
        self._settled = False
        self._thread = threading.Thread(target=self._renew_until_halted, name="lease", daemon=True)

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
        """Raises LeaseLost when another worker may have the task by now.

        The time decides, and not whether the renewals have noticed: when a process that was paused
        goes on, its threads go on in any order.
        """
        if self._clock() >= self._until:
            self._lose(_NOT_RENEWED)
        if self.lost.is_set():
            raise LeaseLost(f"lease lost, another worker may have the task: {self._why_lost}")

    def acknowledge(self) -> None:
        """Delete the message: its task is done. Never raises.

        If SQS is away, the message comes back and its task is found done.
        """
        self._halt()
        with self._settling:
            if self.is_over:
                return
            self._settled = True
            try:
                self._delete(self.delivery.receipt)
            except Exception as error:
                log.warning(
                    "message not deleted; SQS will deliver it again, and its task will count as "
                    "done: %s",
                    meaning(error),
                )
                if is_denied(error):
                    self._denied(error)

    def set_delay(self, seconds: int) -> None:
        """Stop renewing and let the message become visible after `seconds`. Never raises.

        If SQS is away, the message becomes visible when the lease expires.
        """
        self._halt()
        with self._settling:
            if self.is_over:
                return
            try:
                self._hide(self._client, seconds)
            except Exception as error:
                log.warning(
                    "backoff not set; the message becomes visible again when its lease expires: %s",
                    meaning(error),
                )

    def retry_later(self, seconds: int) -> None:
        """Let the message become visible after `seconds`; this attempt is spent. Never raises.

        A long wait is that of a copy, which SQS counts as delayed. A message that waits as it is
        counts as in flight, which keeps machines running that have nothing to do.
        """
        if seconds >= _LONG_WAIT_SECONDS and not self.delivery.plain_body:
            body = self.delivery.next_attempt(self._queue.name)
            try:
                self._move(body, self._queue.url, "sending a message for the next attempt", seconds)
            except Exception as error:
                log.warning("%s", meaning(error))
            else:
                return
        self.set_delay(seconds)

    def give_back(self, delay_seconds: int = 0) -> None:
        """Replace the message by a copy that is visible after a delay; this costs it no attempt.

        Raises QueueUnavailable when SQS is away; the message then becomes visible again when its
        lease expires.
        """
        body = self.delivery.same_again(self._queue.name)
        self._move(body, self._queue.url, "giving a message back", delay_seconds)

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
        if began >= self._until:
            self._lose(_NOT_RENEWED)
            return None
        seconds = min(self._seconds, int(self._end - began))
        if seconds < 1:
            hours = MAX_VISIBILITY_SECONDS // 3600
            self._lose(f"SQS hides a message for {hours} hours at most: use smaller chunks")
            return None
        if self._outage.is_on:
            self._hold_otherwise()  # before SQS, which may be slow not to answer
        if not self._message_is_gone and self._ask_sqs(began, seconds):
            return self._seconds / _RENEWALS
        if not self.lost.is_set():
            self._hold_otherwise()
        if self._clock() >= self._until:
            self._lose("no renewal succeeded")
        return None if self.lost.is_set() else min(self._seconds / _RENEWALS, _RETRY_SECONDS)

    def _ask_sqs(self, began: float, seconds: int) -> bool:
        """Renew once; whether SQS did."""
        try:
            self._hide(self._heartbeat, seconds)
        except Exception as error:
            if (code := _code_of(error)) in _LOST_CODES:
                self._outage.answered()
                if began >= self._held_until:
                    self._lose(f"SQS says {code}")
                self._message_is_gone = True
                return False
            self._outage.failed(error)
            if is_denied(error):
                self._denied(error)
            return False
        self._hidden_until = began + seconds
        self._outage.answered()
        return True

    def _hold_otherwise(self) -> None:
        """Hold the task without SQS when half of the lease is over, the last try included."""
        began = self._clock()
        if self._hold is None or self._until - began >= self._seconds / 2:
            return
        try:
            self._hold(self._seconds)
        except Exception as error:
            log.debug("the task is not held while SQS is away: %s", error)
        else:
            self._held_until, self.was_held = began + self._seconds, True

    @property
    def _until(self) -> float:
        """When the lease ends, as far as is known now."""
        return max(self._hidden_until, self._held_until)

    @property
    def is_over(self) -> bool:
        """Nothing is to be done to the message any more; what others may have is not touched."""
        return self._settled or self._message_is_gone or self.lost.is_set()

    def _move(self, body: str, url: str, what: str, delay_seconds: int = 0) -> None:
        self._halt()
        with self._settling, sqs_errors(what):
            if not self.is_over:
                receipt = self.delivery.receipt
                move(self._client, body, self._queue.url, receipt, url, delay_seconds)
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
        pause: float | None = self._first_pause()
        while pause is not None and not self._halted.wait(pause):
            pause = self.renew()

    def _first_pause(self) -> float:
        """Seconds until the first renewal: none if the message was not received for this lease."""
        left = self._hidden_until - self._clock()
        if self.delivery.hidden_until is None or left > self._seconds:
            return 0.0
        return max(0.0, left - self._seconds * (_RENEWALS - 1) / _RENEWALS)

    def _lose(self, why: str) -> None:
        with self._losing:
            if self.lost.is_set():
                return
            self.lost_at, self._why_lost = self._clock(), why
            self.lost.set()
        box = self.delivery.message.bbox
        log.error("lease on task %s lost, another worker may take it: %s", box, why)


def _code_of(error: Exception) -> str:
    response = getattr(error, "response", None) or {}  # connection errors have one that is None
    return str(response.get("Error", {}).get("Code", ""))
