"""The queue: made and deleted with its dead letters, and filled ten messages to a request."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.sqs import QueueUnavailable, sqs_errors

BATCH_ENTRIES = 10
BATCH_BYTES = 240_000  # 256 KiB was SQS's limit for years, and still is in some places
ATTEMPTS = 5
WINDOW = 4  # batches on their way, per thread
DAY = 86_400


def check_name(name: str) -> None:
    """Raises ConfigError for a name that can't be a task queue."""
    if name.endswith(".fifo"):
        raise ConfigError.one(
            "queue", name, "is a FIFO queue", "tasks need no order: take a standard queue, which is faster and cheaper"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,75}", name):
        raise ConfigError.one("queue", name, "is no queue name", "up to 75 letters, digits, hyphens and underscores")


@dataclass(frozen=True)
class Made:
    """What `create_queue` found or did. `changed`: attributes that were set, with the value before and after."""

    name: str
    url: str
    created: bool
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)


def dead_name(name: str) -> str:
    return f"{name}-dead"


def create_queue(
    client: Any, name: str, max_receives: int = 5, visibility_seconds: int = 60, retention_days: int = 14
) -> tuple[Made, Made]:
    """Make a queue and the one for its dead letters, or give the existing ones these attributes.

    Raises ConfigError for the name, QueueUnavailable when SQS can't be reached or refuses.
    """
    check_name(name)
    with sqs_errors(f"queue {name}"):
        dead = _make(client, dead_name(name), {"MessageRetentionPeriod": str(14 * DAY)})
        answer = client.get_queue_attributes(QueueUrl=dead.url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": max_receives}
        attributes = {
            "VisibilityTimeout": str(visibility_seconds),
            "MessageRetentionPeriod": str(retention_days * DAY),
            "RedrivePolicy": json.dumps(policy),
        }
        return _make(client, name, attributes), dead


def delete_queue(client: Any, name: str) -> list[str]:
    """Delete a queue and its dead letters, with what is in them; returns the names of those that were there."""
    check_name(name)
    deleted = []
    with sqs_errors(f"queue {name}"):
        for each in (name, dead_name(name)):
            url = _url(client, each)
            if url is not None:
                client.delete_queue(QueueUrl=url)
                deleted.append(each)
    return deleted


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


def _in_order(started: Iterator[Future[_Outcome]], waiting: deque[Future[_Outcome]], window: int) -> Iterator[_Outcome]:
    """The outcomes in order of the batches, of which no more than `window` are on their way at a time."""
    for future in started:
        waiting.append(future)
        if len(waiting) == window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _send_batch(client: Any, url: str, first: int, batch: list[str], pause: float, stop: threading.Event) -> _Outcome:
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


def _url(client: Any, name: str) -> str | None:
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except client.exceptions.QueueDoesNotExist:
        return None


def _make(client: Any, name: str, wanted: dict[str, str]) -> Made:
    url = _url(client, name)
    if url is None:
        return Made(name, client.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"], created=True)
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=list(wanted)).get("Attributes", {})
    changed = {k: (found.get(k, "none"), v) for k, v in wanted.items() if not _same(found.get(k), v)}
    if changed:
        client.set_queue_attributes(QueueUrl=url, Attributes={k: wanted[k] for k in changed})
    return Made(name, url, created=False, changed=changed)


def _same(found: str | None, wanted: str) -> bool:
    """Equal as JSON; SQS writes the numbers inside a policy now with quotes, now without."""

    def plain(text: str) -> Any:
        value = json.loads(text)
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    return found is not None and plain(found) == plain(wanted)
