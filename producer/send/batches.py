"""Sends messages, ten to a request."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.job.sqs import QueueUnavailable, sqs_errors

BATCH_ENTRIES = 10
BATCH_BYTES = 240_000  # 256 KiB was SQS's limit for years, and still is in some places
ATTEMPTS = 5
WINDOW = 4  # batches on their way, per thread


class SendingFailed(QueueUnavailable):
    """Not all messages were sent. `first_unsent`: index of the first of them; later ones may have been sent."""

    def __init__(self, sent: int, first_unsent: int, problem: str):
        self.first_unsent = first_unsent
        super().__init__(f"{sent} messages were sent, then: {problem}")


def send(
    client: Any,
    url: str,
    bodies: Iterable[str],
    *,
    threads: int = 8,
    pause: float = 0.5,
    sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Send all `bodies`, taking them as they are needed; returns their number.

    pause: seconds before entries that failed are sent again; doubles each time.
    sent: called with the number of bodies from the first on that are all sent.
    Raises SendingFailed when entries still fail after some attempts.
    """
    count, broken = 0, None
    stop = threading.Event()
    waiting: deque[Future[_Outcome]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="send")

    def submit(batch: tuple[int, list[str]]) -> Future[_Outcome]:
        return pool.submit(_send_batch, client, url, *batch, pause, stop)

    try:
        for outcome in _in_order(map(submit, pack(bodies)), waiting, threads * WINDOW):
            count += outcome.sent
            if outcome.unsent is not None:
                broken = outcome
                break
            sent(count)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if broken is not None and broken.unsent is not None:
        count += sum(future.result().sent for future in waiting if not future.cancelled())
        raise SendingFailed(count, broken.unsent, broken.problem)
    return count


def pack(bodies: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Bodies in batches that SQS takes, each with the index of its first body."""
    first, batch, size = 0, list[str](), 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == BATCH_ENTRIES or size + length > BATCH_BYTES):
            yield first, batch
            first, batch, size = first + len(batch), [], 0
        batch.append(body)
        size += length
    if batch:
        yield first, batch


@dataclass(frozen=True)
class _Outcome:
    """What became of a batch. `unsent`: smallest index that was not sent."""

    sent: int
    unsent: int | None = None
    problem: str = ""


def _in_order(
    started: Iterator[Future[_Outcome]], waiting: deque[Future[_Outcome]], window: int
) -> Iterator[_Outcome]:
    """The outcomes in order of the batches, of which no more than `window` are on their way at a time."""
    for future in started:
        waiting.append(future)
        if len(waiting) == window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _send_batch(
    client: Any, url: str, first: int, batch: list[str], pause: float, stop: threading.Event
) -> _Outcome:
    left, problem = dict(enumerate(batch)), ""
    for attempt in range(ATTEMPTS):
        if attempt and stop.wait(pause * 2 ** (attempt - 1)):
            break
        try:
            with sqs_errors("sending"):
                entries = [{"Id": str(i), "MessageBody": body} for i, body in left.items()]
                failed = client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])
        except QueueUnavailable as error:
            problem = str(error)
            continue
        if not failed:
            return _Outcome(len(batch))
        left = {int(entry["Id"]): left[int(entry["Id"])] for entry in failed}
        problem = f"SQS refused {len(failed)} messages of a batch: {failed[0].get('Code')}: {failed[0].get('Message', '')}"
    return _Outcome(len(batch) - len(left), first + min(left), problem)
