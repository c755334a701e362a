"""`send`: sends messages in batches of ten, in several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from chunkflow_worker.job.in_order import in_order
from chunkflow_worker.job.sqs import QueueRefused, QueueUnavailable, sqs_errors

BATCH_ENTRIES = 10
BATCH_BYTES = 240_000  # SQS allowed 256 KiB for years, and some services like SQS still do
ATTEMPTS = 5
_GROUP = "MessageGroupId"
WINDOW = 4  # batches in flight, per thread


class SendingFailed(QueueUnavailable):
    """Not all messages were sent.

    first_unsent: the smallest index that was not sent. Later messages may have been sent.
    """

    def __init__(self, sent: int, first_unsent: int, problem: str):
        self.first_unsent = first_unsent
        self._sent, self._problem = sent, problem
        super().__init__(f"{sent} messages were sent, then: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._sent, self.first_unsent, self._problem)

    def after(self, count: int) -> SendingFailed:
        """The same, of messages that followed `count` others."""
        return type(self)(count + self._sent, count + self.first_unsent, self._problem)


class SendingRefused(SendingFailed, QueueRefused):
    """The same, because SQS refused the credentials or the action."""


class Batch(NamedTuple):
    """Messages that go into one request. first: index of the first."""

    first: int
    bodies: list[str]


def send(
    client: Any,
    url: str,
    bodies: Iterable[str],
    *,
    group: str = "",
    delay_seconds: int = 0,
    threads: int = 32,
    pause: float = 0.5,
    sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Send all messages and return their number. Each body is taken only shortly before it is sent.

    group: of all messages, by which fair queues share workers between jobs. Empty for none. They
        are sent without it to a service that does not know groups on standard queues.
    delay_seconds: until they can be received.
    pause: seconds before entries that failed are sent again; doubles with each attempt.
    sent: is called with a growing number n, when the first n messages have all been sent.
    Raises SendingFailed when entries still fail after 5 attempts.
    """
    count = 0
    failure: _Outcome | None = None
    stop = threading.Event()
    place = _Place(client, url, group, delay_seconds)

    def send_batch(batch: Batch) -> _Outcome:
        return _send_batch(place, batch, pause, stop)

    batches = takewhile(lambda _: not stop.is_set(), pack(bodies))
    outcomes = in_order(
        send_batch, batches, threads, window=threads * WINDOW, stop=stop, name="send"
    )
    with closing(outcomes):
        for outcome in outcomes:
            count += outcome.sent
            if failure is not None:
                continue  # batches that were in flight when one failed; they count too
            if outcome.first_unsent is None:
                sent(count)
            else:
                failure = outcome
                stop.set()
    if failure is not None and failure.first_unsent is not None:
        kind = SendingRefused if failure.is_refused else SendingFailed
        raise kind(count, failure.first_unsent, failure.problem)
    return count


@dataclass(frozen=True)
class _Outcome:
    """What happened to a batch.

    first_unsent: the smallest index that was not sent. is_refused: a person must act.
    """

    sent: int
    first_unsent: int | None = None
    problem: str = ""
    is_refused: bool = False


def pack(bodies: Iterable[str]) -> Iterator[Batch]:
    """Group bodies into batches that SQS accepts: at most 10 entries and 240,000 bytes."""
    first, batch, size = 0, list[str](), 0
    for body in bodies:
        length = len(body) if body.isascii() else len(body.encode())
        if batch and (len(batch) == BATCH_ENTRIES or size + length > BATCH_BYTES):
            yield Batch(first, batch)
            first, batch, size = first + len(batch), [], 0
        batch.append(body)
        size += length
    if batch:
        yield Batch(first, batch)


def _send_batch(place: _Place, batch: Batch, pause: float, stop: threading.Event) -> _Outcome:
    unsent, problem, is_refused = dict(enumerate(batch.bodies)), "", False
    for attempt in range(ATTEMPTS):
        wait = pause * 2 ** (attempt - 1) if attempt else 0
        if stop.wait(wait):
            break
        try:
            refused = place.send(unsent)
        except QueueUnavailable as error:
            problem, is_refused = str(error), isinstance(error, QueueRefused)
            if is_refused:
                break
            continue
        if not refused:
            return _Outcome(len(batch.bodies))
        unsent = {int(entry["Id"]): unsent[int(entry["Id"])] for entry in refused}
        reason = f"{refused[0].get('Code')}: {refused[0].get('Message', '')}"
        problem = f"SQS refused {len(refused)} messages of a batch: {reason}"
    sent = len(batch.bodies) - len(unsent)
    return _Outcome(sent, batch.first + min(unsent), problem, is_refused)


class _Place:
    """Where messages go. group: theirs; empty when the service has refused it."""

    def __init__(self, client: Any, url: str, group: str, delay_seconds: int):
        self._client, self._url, self._group = client, url, group
        self._delay = {"DelaySeconds": delay_seconds} if delay_seconds else {}

    def send(self, bodies: dict[int, str]) -> list[dict[str, Any]]:
        """Send one request. Returns the entries that SQS refused. Raises QueueUnavailable."""
        group = self._group
        try:
            with sqs_errors("sending"):
                refused = self._send(bodies, group)
        except QueueUnavailable as error:
            if not group or _GROUP not in str(error):
                raise
            self._group = ""
            return self.send(bodies)
        if group and any(_GROUP in entry.get("Message", "") for entry in refused):
            self._group = ""
            return self.send({int(entry["Id"]): bodies[int(entry["Id"])] for entry in refused})
        return refused

    def _send(self, bodies: dict[int, str], group: str) -> list[dict[str, Any]]:
        same = self._delay | ({_GROUP: group} if group else {})
        entries = [{"Id": str(i), "MessageBody": body, **same} for i, body in bodies.items()]
        answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        refused: list[dict[str, Any]] = answer.get("Failed", [])
        return refused
