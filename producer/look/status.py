"""How far a job is: the queue's numbers, the ledger's, and what follows from them. Prints nothing."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import RetryableError
from chunkflow_worker.job.sqs import Queue, sqs_errors
from producer.look.job import choose_job

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.ledger import Ledger

SAMPLE = 100  # records read for a rate
RATE_SECONDS = 600  # a watch measures its rate over the last so many seconds
MAX_FAILED_POLLS = 5

_COUNTS = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]


@dataclass(frozen=True)
class JobStatus:
    """The state of a queue and of one job in its ledger.

    waiting, in_flight, delayed: messages in the queue. dead: messages in its dead-letter queue. SQS says these only
        approximately, and they count the messages of all jobs.
    done, failed: boxes of the job with a record of success, and those whose last attempt failed and may be tried again.
    missing: boxes of the job with no record at all. twice: boxes that the job did to the end more than once, as far as
        the ledger knows.
    job, total: the job and the number of its boxes; None when no ledger knows a job.
    rate: tasks done per second; None when it is not known.
    """

    queue: str
    waiting: int
    in_flight: int
    delayed: int
    dead: int
    job: str | None = None
    done: int = 0
    failed: int = 0
    total: int | None = None
    rate: float | None = None
    missing: int = 0
    twice: int = 0

    @property
    def complete(self) -> bool:
        """All boxes of the job are done."""
        return self.total is not None and self.done >= self.total

    @property
    def idle(self) -> bool:
        """Nothing is in the queue that a worker could do."""
        return self.waiting + self.in_flight + self.delayed == 0

    @property
    def percent(self) -> float | None:
        return min(100.0, 100 * self.done / self.total) if self.total else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the job is done, at the present rate."""
        if self.total is None or not (self.rate or self.complete):
            return None
        return (self.total - self.done) / self.rate if self.rate else 0.0


def job_status(
    client: Any,
    queue: Queue,
    ledger: Ledger | None = None,
    job: str | None = None,
    *,
    sample: int = SAMPLE,
) -> JobStatus:
    """Ask queue and ledger once.

    job: name of a job; the latest in the ledger when not given. sample: records to read for the rate; 0 for no rate.
    Raises ConfigError when the ledger has no such job, QueueUnavailable and StorageUnavailable.
    """
    with sqs_errors(f"queue {queue.name}"):
        waiting, in_flight, delayed = _counts(client, queue.url)
        dead = sum(_counts(client, queue.dead_letter_url))
    status = JobStatus(queue.name, waiting, in_flight, delayed, dead)
    record = choose_job(ledger, job) if ledger else None
    if ledger is None or record is None:
        return status
    place = _places(record.boxes())
    done_boxes, failed_boxes, twice_boxes = ledger.listing()
    done = [name for name in done_boxes if place(name) is not None]
    failed = sum(place(name) is not None for name in failed_boxes)
    return replace(
        status,
        job=record.job,
        done=len(done),
        failed=failed,
        missing=max(0, record.tasks - len(done) - failed),
        twice=sum(place(name) is not None for name in twice_boxes),
        total=record.tasks,
        rate=_sampled_rate(ledger, done, sample) if len(done) < record.tasks else None,
    )


def watch(
    poll: Callable[[int], JobStatus],
    pause: Callable[[], None],
    settle_seconds: float = 60,
    clock: Callable[[], float] = monotonic,
) -> Iterator[JobStatus]:
    """The status of every poll until the job has ended: all its boxes are done, or the queue stays empty.

    poll: asks once, reading the given number of records. pause: waits between two polls. settle_seconds: how long the
        queue must look empty before an unfinished job is given up, since SQS counts only approximately.
    Raises what `poll` raises, RetryableError only after some polls in a row.
    """
    measured: deque[tuple[float, int]] = deque()
    sampled, idle_since, failures, began = None, None, 0, clock()
    while True:
        try:
            status = poll(0 if measured else SAMPLE)
        except RetryableError:
            failures += 1
            if failures == MAX_FAILED_POLLS:
                raise
            pause()
            continue
        failures, now = 0, clock()
        if not measured:
            sampled = status.rate
        measured.append((now, status.done))
        while now - measured[0][0] > RATE_SECONDS:
            measured.popleft()
        finished = status.done - measured[0][1]
        if finished > 0:
            status = replace(status, rate=finished / (now - measured[0][0]))
        elif now - began < RATE_SECONDS:
            status = replace(status, rate=sampled)
        yield status
        if not status.idle:
            idle_since = None
        elif idle_since is None:
            idle_since = now
        if status.complete or (idle_since is not None and now - idle_since >= settle_seconds):
            return
        pause()


def _counts(client: Any, url: str) -> list[int]:
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=_COUNTS)["Attributes"]
    return [int(attributes[name]) for name in _COUNTS]


def _places(boxes: Boxes) -> Callable[[str], int | None]:
    """Tells from a box's text where it stands in a job, or None. Needs memory for the axes only, not for every box."""
    axes = []
    for axis in range(3):
        starts = [
            boxes.start[axis] + i * boxes.chunk_size[axis] for i in range(boxes.grid_size[axis])
        ]
        stops = [start + boxes.chunk_size[axis] for start in starts]
        if boxes.stop is not None:
            stops = [min(stop, boxes.stop[axis]) for stop in stops]
        axes.append(
            {
                f"{start}-{stop}": i
                for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
            }
        )

    def place(name: str) -> int | None:
        ranges = name.split("_")
        if len(ranges) != 3:
            return None
        z, y, x = (axis.get(text) for axis, text in zip(axes, ranges, strict=True))
        if z is None or y is None or x is None:
            return None
        index = (z * boxes.grid_size.y + y) * boxes.grid_size.x + x
        return index - boxes.first if boxes.first <= index < boxes.last else None

    return place


def _sampled_rate(ledger: Ledger, done: list[str], sample: int) -> float | None:
    """Tasks per second over the time in which the later half of the done tasks finished.

    Reads a bounded number of records, however many there are: half of all tasks finished after the median of a sample.
    """
    chosen = random.sample(done, min(sample, len(done)))
    times = sorted(_times(record.finished for record in ledger.records(chosen)))
    if len(times) < 2:
        return None
    median = (len(times) - 1) // 2
    later = len(done) * (len(times) - 1 - median) / len(times)
    seconds = datetime.now(UTC).timestamp() - times[median]
    return later / seconds if seconds > 0 else None


def _times(texts: Iterable[str]) -> Iterator[float]:
    for text in texts:
        try:
            yield datetime.fromisoformat(text).timestamp()
        except ValueError:
            continue
