"""`JobStatus`: what the queue and the ledger say about a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.clipped import clipped_shares
from chunkflow_worker.job.sqs import Queue, sqs_errors
from producer.look.expiry import expiry
from producer.look.job import find_job
from producer.look.nets import Net, Nets
from producer.look.survey import Found, Survey

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger, Record
    from chunkflow_worker.job.state import State

SAMPLE = 100  # records that are read to estimate the rate and the shares of clipped voxels

_COUNTS = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]


@dataclass(frozen=True)
class JobStatus:
    """The state of a queue, and of one job in its ledger.

    waiting, in_flight, delayed: messages in the queue. dead: messages in its dead-letter queue.
        SQS reports these numbers approximately, and they count the messages of all jobs.
    job, total: the name of the job and the number of its boxes; None without a job in a ledger.
    done: boxes of the job with a record of success.
    failed: boxes of the job that are not done and whose last attempt failed; it may be tried again.
    missing: boxes of the job without any record.
    twice: boxes that the job completed more than once, as far as the ledger knows.
    late: boxes that are done and that a worker of another chain or net wrote to after its lease.
    rate: tasks done per second; None when it is unknown.
    sampled: number of records of done tasks that were read.
    clipped: the share of the voxels that each operator clipped in these, from 0 to 1.
    nets: that the boxes of a sample of the records come from.
    state: of the job: running, paused or cancelled. why, by, since: the reason, who decided, and
        when, in ISO 8601; empty while nobody has decided anything.
    messages_expire, dead_letters_expire: when SQS deletes the first ones of the job, in UTC, if
        they were sent when the job was enqueued; empty when there are none, or when it is unknown.
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
    late: tuple[str, ...] = ()
    sampled: int = 0
    clipped: dict[str, float] = field(default_factory=dict)
    nets: tuple[Net, ...] = ()
    state: State = "running"
    why: str = ""
    by: str = ""
    since: str = ""
    messages_expire: str = ""
    dead_letters_expire: str = ""

    @property
    def complete(self) -> bool:
        """All boxes of the job are done."""
        return self.total is not None and self.done >= self.total

    @property
    def idle(self) -> bool:
        """The queue holds no message that a worker could run, now or later."""
        return self.waiting + self.in_flight + self.delayed == 0

    @property
    def percent(self) -> float | None:
        """The share of the boxes that are done, from 0 to 100; None without a job."""
        return min(100.0, 100 * self.done / self.total) if self.total else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the job is done at the present rate; None when they are unknown."""
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
    """Ask the queue and the ledger once; see `StatusPoll`."""
    return StatusPoll(client, queue, ledger, job).ask(sample)


class StatusPoll:
    """Asks the queue and the ledger again and again, each time for what may have changed.

    job: the name of a job; the latest job in the ledger, at the first poll, when not given.
    """

    def __init__(self, client: Any, queue: Queue, ledger: Ledger | None, job: str | None):
        self._client, self._queue, self._ledger, self._job = client, queue, ledger, job
        self._survey: Survey | None = None

    def ask(self, sample: int = SAMPLE) -> JobStatus:
        """The present status.

        sample: number of records to read for the rate, the clipped voxels and the nets; 0 for none.
        Raises ConfigError when the ledger has no such job, QueueUnavailable and StorageUnavailable.
        """
        status = self._of_queue()
        record = find_job(self._ledger, self._job) if self._ledger else None
        if self._ledger is None or record is None:
            return status
        self._job = record.job
        boxes = record.boxes()  # a job may grow
        if self._survey is None or self._survey.boxes != boxes:
            self._survey = Survey(self._ledger, boxes)
        found = self._survey.look()
        records = list(self._survey.records(self._survey.sample(sample)))
        return self._of_job(status, record, found, records)

    def _of_queue(self) -> JobStatus:
        queue = self._queue
        with sqs_errors(f"queue {queue.name}"):
            waiting, in_flight, delayed = _message_counts(self._client, queue.url)
            dead = sum(_message_counts(self._client, queue.dead_letter_url))
        return JobStatus(queue.name, waiting, in_flight, delayed, dead)

    def _of_job(
        self, status: JobStatus, job: JobRecord, found: Found, records: list[Record]
    ) -> JobStatus:
        assert self._ledger is not None
        queue, first_sent = self._queue, job.began or job.enqueued
        kept, dead_kept = queue.retention_seconds, queue.dead_letter_retention_seconds
        state = self._ledger.states.read(job.job)
        return replace(
            status,
            **found._asdict(),
            job=job.job,
            state=state.state,
            why=state.why,
            by=state.by,
            since=state.at.isoformat() if state.at else "",
            missing=max(0, job.tasks - found.done - found.failed),
            total=job.tasks,
            rate=_rate(records, found.done) if found.done < job.tasks else None,
            sampled=len(records),
            clipped=clipped_shares(one for record in records for one in record.clipped),
            nets=tuple(Nets(records).found()),
            messages_expire="" if status.idle else expiry(first_sent, kept),
            dead_letters_expire=expiry(first_sent, dead_kept) if status.dead else "",
        )


def _message_counts(client: Any, url: str) -> list[int]:
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=_COUNTS)["Attributes"]
    return [int(attributes[name]) for name in _COUNTS]


def _rate(sample: list[Record], done: int) -> float | None:
    """Tasks per second, over the time in which the later half of the done tasks finished.

    sample: records of some of them. The median of their finish times is close to that of all, so
        the number of records to read does not grow with the job.
    """
    times = sorted(_timestamps(record.finished for record in sample))
    if len(times) < 2:
        return None
    median = (len(times) - 1) // 2
    later_in_sample = len(times) - 1 - median
    later = done * later_in_sample / len(times)
    seconds = datetime.now(UTC).timestamp() - times[median]
    return later / seconds if seconds > 0 else None


def _timestamps(texts: Iterable[str]) -> Iterator[float]:
    for text in texts:
        try:
            yield datetime.fromisoformat(text).timestamp()
        except ValueError:
            continue
