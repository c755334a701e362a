"""fetch-task-from-sqs"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as attribute
from threading import Event, Lock
from typing import Any, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import MessageMalformed, PipelineMismatch, Preempted
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.message import MAX_ATTEMPTS, encode, open_envelope
from chunkflow_worker.job.sqs import (
    MAX_VISIBILITY_SECONDS,
    Queue,
    QueueUnavailable,
    find_queue,
    make_client,
    move,
    sqs_errors,
)
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Delivery, Task
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_POLL_SECONDS = 5
_LEASE_SECONDS = (3, 120)  # limits of what is taken over from the queue, as in workers


class FetchTaskFromSqs(TaskSource):
    """Take tasks from an SQS queue, one by one, for the operators that follow.

    A worker does the same with more care.

    Takes what `chunkflow-producer enqueue` sends, and boxes as plain text, z0-z1_y0-y1_x0-x1. A message is kept hidden while its
    task runs and deleted when that is done or skipped. When it fails, the run ends, and the message is visible again at once; the
    queue counts its receives and moves it to the dead letters when they are used up. When the run is stopped, by Ctrl-C or
    SIGTERM, its tasks are given back after the operator that is running, and that costs them no receive. The region is that of
    AWS_REGION.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-sqs -q boxes -n 10 \
            load-zarr -f s3://lab/em.zarr \
            save-precomputed -v s3://lab/em
    """
    differs: ClassVar[str] = "The queue must exist and have a dead-letter queue."
    consumes: ClassVar[bool] = True
    op: Literal["fetch-task-from-sqs"] = "fetch-task-from-sqs"
    queue_name: str = field(flag="-q", help="Name of the queue.")
    visibility_timeout: int | None = field(
        None,
        flag="-v",
        ge=_LEASE_SECONDS[0],
        le=MAX_VISIBILITY_SECONDS,
        help="Seconds that a message stays hidden when this process dies, extended while its task runs; "
        "the queue's own when not given, but from 3 to 120.",
    )
    num: int = field(-1, flag="-n", ge=-1, help="Tasks to take at most; -1 for all.")
    retry_times: int = field(
        30,
        flag="-r",
        ge=0,
        help=f"How often to ask again, {_POLL_SECONDS} s each time, before an empty queue ends the run.",
    )

    def tasks(self) -> Iterator[Task]:
        region = Settings.load().region
        client = make_client(region, read_seconds=_POLL_SECONDS + 10)
        queue = find_queue(client, self.queue_name)
        shortest, longest = _LEASE_SECONDS
        seconds = self.visibility_timeout or min(max(queue.visibility_seconds, shortest), longest)
        inbox = _Inbox(client, make_client(region, read_seconds=3, attempts=1), queue, seconds)
        taken = empty = 0
        while taken != self.num and not inbox.closed.is_set():
            try:
                received = inbox.receive()
            except QueueUnavailable as error:
                if empty >= self.retry_times:
                    raise
                log.warning("asking again: %s", error)
                inbox.closed.wait(_POLL_SECONDS)
                received = None
            if received is None:
                empty += 1
                if empty > self.retry_times:
                    return
                continue
            empty = 0
            task = inbox.task(received)
            if task is not None:
                taken += 1
                yield task


@dataclass(frozen=True)
class _Inbox:
    """Receives messages of one queue.

    heartbeat: the client for renewals. seconds: of a lease. closed: set when a task failed. asking: held while SQS is asked.
    """

    client: Any
    heartbeat: Any
    queue: Queue
    seconds: int
    closed: Event = attribute(default_factory=Event)
    asking: Lock = attribute(default_factory=Lock)
    outage: Outage = attribute(default_factory=lambda: Outage("SQS (lease renewal)"))

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when none came, or a task failed meanwhile. Raises QueueUnavailable."""
        with self.asking, sqs_errors(f"queue {self.queue.name}"):
            if self.closed.is_set():
                return None
            answer = self.client.receive_message(
                QueueUrl=self.queue.url,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=_POLL_SECONDS,
                VisibilityTimeout=self.seconds,
                AttributeNames=["ApproximateReceiveCount"],
            )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages[0] if messages else None

    def task(self, received: dict[str, Any]) -> Task | None:
        """The task of a message; None when it is malformed, and goes to the dead letters, or came too late to be run."""
        receipt, receives = (
            received["ReceiptHandle"],
            int(received["Attributes"]["ApproximateReceiveCount"]),
        )
        try:
            box, delivery, body = _read(received, receives, self.queue.name)
        except MessageMalformed as error:
            log.error(
                "refused message %s, moved to the dead letters: %s",
                received.get("MessageId"),
                error,
            )
            with sqs_errors("moving a message to the dead-letter queue"):
                move(
                    self.client,
                    received["Body"],
                    self.queue.url,
                    receipt,
                    self.queue.dead_letter_url,
                )
            return None
        lease = Lease(
            self.client,
            self.queue,
            receipt,
            self.seconds,
            heartbeat=self.heartbeat,
            outage=self.outage,
        )
        if self.closed.is_set():
            lease.give_back(body)
            return None
        return Task(bbox=box, delivery=Delivery(**delivery, hold=lambda: self._hold(lease, body)))

    @contextmanager
    def _hold(self, lease: Lease, body: str) -> Iterator[Callable[[], None]]:
        """Keep the message hidden in the block, then delete it. body: of the one that takes its place when it is given back."""
        try:
            with lease:
                yield lease.check
                lease.check()
                lease.acknowledge()
        except BaseException as error:
            self.closed.set()
            try:
                if isinstance(error, (Preempted, PipelineMismatch, KeyboardInterrupt)):
                    lease.give_back(body)
                else:
                    with self.asking:  # else the poll that is open would receive it at once
                        lease.set_delay(0)
            except QueueUnavailable as failure:
                log.warning("the message returns when its lease ends: %s", failure)
            raise


def _read(
    received: dict[str, Any], receives: int, queue: str
) -> tuple[BoundingBox, dict[str, Any], str]:
    """The box of a message, what else is told of its delivery, and the body of a copy. Raises MessageMalformed."""
    body: str = received["Body"]
    try:
        box = BoundingBox.parse(body.strip())
    except ValueError:
        message, task_id = open_envelope(body, queue)
        spent = min(message.attempts + receives - 1, MAX_ATTEMPTS)
        told = {
            "job": message.job,
            "task_id": task_id,
            "pipeline": message.pipeline,
            "attempt": message.attempts + receives,
        }
        return (
            message.box,
            told,
            encode(message.model_copy(update={"attempts": spent}), queue, task_id),
        )
    return box, {"task_id": received["MessageId"], "attempt": receives}, body
