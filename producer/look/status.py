"""`JobStatus`: what the queue and the ledger say about a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.clipped import clipped_shares
from chunkflow_worker.job.sqs import Queue, sqs_errors
from producer.cost.stored import read_plan
from producer.figures.spent import spent_of
from producer.look.expiry import expiry
from producer.look.job import find_job
from producer.look.nets import Net, Nets
from producer.look.survey import Found, Survey

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record
    from chunkflow_worker.job.state import State
    from producer.figures.spent import Spent

SAMPLE = 100  # records that are read to estimate the rate and the shares of clipped voxels

_COUNTS = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]


@dataclass(frozen=True)
class JobStatus:
    """The state of a queue, and of one job in its ledger.

    queue: its name; empty for a job without one.
    waiting, in_flight, delayed: messages in the queue, those of high priority included; None
        without one.
    high: of all these, those in the queue for high priority.
    dead: messages in its dead-letter queue; without a queue, boxes that failed and are given up.
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
    spent: what the job has taken, beside its plan; None without a plan in the ledger.
    messages_expire, dead_letters_expire: when SQS deletes the first ones of the job, in UTC, if
        they were sent when the job was enqueued; empty when there are none, or when it is unknown.
    """

    queue: str
    waiting: int | None
    in_flight: int | None
    delayed: int | None
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
    spent: Spent | None = None
    messages_expire: str = ""
    dead_letters_expire: str = ""
    high: int = 0

    @property
    def complete(self) -> bool:
        """All boxes of the job are done."""
        return self.total is not None and self.done >= self.total

    @property
    def idle(self) -> bool:
        """The queue holds no message that a worker could run, now or later.

        Without a queue: each box is done or given up.
        """
        if not self.queue:
            return self.missing == 0 and self.failed == self.dead
        return self.messages == 0

    @property
    def messages(self) -> int:
        """The messages in the queue, in any state."""
        return (self.waiting or 0) + (self.in_flight or 0) + (self.delayed or 0)

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

    client, queue: of SQS; None for a job without a queue.
    job: the name of a job; the latest job in the ledger, at the first poll, when not given.
    """

    def __init__(self, client: Any, queue: Queue | None, ledger: Ledger | None, job: str | None):
        self._client, self._queue, self._ledger, self._job = client, queue, ledger, job
        self._survey: Survey | None = None

    @property
    def job(self) -> str | None:
        """The name of the job, if it is known."""
        return self._job

    @property
    def survey(self) -> Survey | None:
        """Of the boxes of the job; None before the first answer, and without a job."""
        return self._survey

    def ask(self, sample: int = SAMPLE, seconds: float | None = None) -> JobStatus:
        """The present status.

        sample: number of records to read for the rate, the clipped voxels and the nets; 0 for none.
        seconds: of a task, where the caller knows it; by default, those of the sample.
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
        return self._of_job(status, record, found, records, seconds)

    def all_are_final(self) -> bool:
        """Whether no other attempt follows for any box that had failed at the last look.

        So a job ends although the queue holds messages of others. Raises StorageUnavailable.
        """
        assert self._ledger is not None
        assert self._survey is not None
        failed = [*self._survey.failed()]
        seen = 0
        for record in self._ledger.records(failed, failed=True):
            if not record.final:
                return False
            seen += 1
        return seen == len(failed)

    def _of_queue(self) -> JobStatus:
        queue = self._queue
        if queue is None:
            return JobStatus("", None, None, None, 0)
        with sqs_errors(f"queue {queue.name}"):
            counts = [_message_counts(self._client, url) for url in queue.urls]
            dead = sum(_message_counts(self._client, queue.dead_letter_url))
        waiting, in_flight, delayed = map(sum, zip(*counts, strict=True))
        high = sum(sum(of_queue) for of_queue in counts[1:])
        return JobStatus(queue.name, waiting, in_flight, delayed, dead, high=high)

    def _of_job(
        self,
        status: JobStatus,
        job: JobRecord,
        found: Found,
        records: list[Record],
        seconds: float | None,
    ) -> JobStatus:
        assert self._ledger is not None
        state = self._ledger.states.read(job.job)
        messages_expire, letters_expire = self._expiries(status, job.began or job.enqueued)
        dead = status.dead
        if self._queue is None and found.failed:
            dead = self._count_final(self._ledger)
        return replace(
            status,
            **found._asdict(),
            dead=dead,
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
            spent=self._spent(job, found.done, seconds or _mean_seconds(records, job)),
            messages_expire=messages_expire,
            dead_letters_expire=letters_expire,
        )

    def _count_final(self, ledger: Ledger) -> int:
        """The number of boxes of the job that failed and are given up."""
        assert self._survey is not None
        records = ledger.records(self._survey.failed(), failed=True)
        return sum(record.final for record in records)

    def _spent(self, job: JobRecord, done: int, seconds: float | None) -> Spent | None:
        """Beside the plan, by the seconds of a task: a worker has so many at once as planned."""
        assert self._ledger is not None
        plan = read_plan(self._ledger, job.job)
        if plan is None:
            return None
        return spent_of(plan, seconds and seconds / plan.in_flight, done, job.tasks)

    def _expiries(self, status: JobStatus, first_sent: str) -> tuple[str, str]:
        """When the first messages expire, and the first dead letters."""
        queue = self._queue
        if queue is None:
            return "", ""
        kept, dead_kept = queue.retention_seconds, queue.dead_letter_retention_seconds
        messages = "" if status.idle else expiry(first_sent, kept)
        return messages, expiry(first_sent, dead_kept) if status.dead else ""


def _mean_seconds(records: list[Record], job: JobRecord) -> float | None:
    times = [record.seconds for record in records if record.job == job.job]
    return sum(times) / len(times) if times else None


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
