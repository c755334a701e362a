"""fetch-task-from-sqs"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import partial
from threading import Event, Lock
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.config.queue_name import check_queue_name
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import BoxOutsideJob, PipelineMismatch, Preempted
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.inbox import Inbox, Received
from chunkflow_worker.job.lease import Lease
from chunkflow_worker.job.sqs import (
    MAX_VISIBILITY_SECONDS,
    MIN_LEASE_SECONDS,
    QueueUnavailable,
    find_queue,
    make_client,
)
from chunkflow_worker.pipeline.operator import TaskSource
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.outage import Outage

log = logging.getLogger(__name__)

_POLL_SECONDS = 5


class FetchTaskFromSqs(TaskSource):
    """Take tasks from an SQS queue, one by one, for the operators that follow.

    `chunkflow-worker run` does the same; it also waits during outages, and limits time and memory.

    Takes the messages of `chunkflow-producer enqueue`, and boxes as plain text, z0-z1_y0-y1_x0-x1.
    A message stays hidden while its task runs, and is deleted when the task is done or skipped.
    When a task fails, the run ends and its message becomes visible at once; the queue counts the
    receives, and moves the message to the dead-letter queue after the allowed number. When Ctrl-C
    or SIGTERM stops the run, its tasks are given back when the current operator ends, and this
    costs them no receive. With --ledger, a message of a job that the ledger lacks, or of a box that
    the job lacks, goes to the dead-letter queue, where the ledger has jobs; one that is only a box
    names no job, and is taken. AWS_REGION sets the region.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = r"""
        chunkflow fetch-task-from-sqs -q boxes -n 10 \
            load-zarr -f s3://lab/em.zarr \
            save-precomputed -v s3://lab/em
    """
    differs: ClassVar[str] = "The queue must exist and have a dead-letter queue."
    formerly: ClassVar[tuple[str, ...]] = ("fetch-task",)
    op: Literal["fetch-task-from-sqs"] = "fetch-task-from-sqs"
    queue_name: str = field(flag="-q", help="Name of the queue; its URL or ARN will do.")
    visibility_timeout: int | None = field(
        None,
        flag="-v",
        ge=MIN_LEASE_SECONDS,
        le=MAX_VISIBILITY_SECONDS,
        help="Seconds after which the task of a process that died is visible to others (default: "
        "the visibility timeout of the queue, but 3 to 120).",
    )
    num: int = field(-1, flag="-n", ge=-1, help="Maximum number of tasks to take; -1 for all.")
    retry_times: int = field(
        30,
        flag="-r",
        ge=0,
        help=f"How many times to poll an empty queue again, {_POLL_SECONDS} s each, before the run "
        "ends.",
    )

    _is_queue = field_validator("queue_name")(check_queue_name)

    @property
    def consumes(self) -> bool:
        return True

    def tasks(self) -> Iterator[Task]:
        return self._tasks(ends_at_failure=True)

    def tasks_to_the_end(self) -> Iterator[Task]:
        return self._tasks(ends_at_failure=False)

    def _tasks(self, ends_at_failure: bool) -> Iterator[Task]:
        region = Settings.load().region
        receiver = make_client(region, read_seconds=_POLL_SECONDS + 10)
        queue = find_queue(receiver, self.queue_name)
        seconds = self.visibility_timeout or queue.lease_seconds
        inbox = Inbox(receiver, receiver, queue, _POLL_SECONDS, seconds, plain_boxes=True)
        intake = _Intake(
            inbox, make_client(region, read_seconds=3, attempts=1), seconds, ends_at_failure
        )
        taken = empty = 0
        while taken != self.num and not intake.closed.is_set():
            try:
                received = intake.receive()
            except QueueUnavailable as error:
                if empty >= self.retry_times:
                    raise
                log.warning("asking again: %s", error)
                intake.closed.wait(_POLL_SECONDS)
                received = Received([])
            nothing_came = not received.deliveries and not received.refused
            empty = empty + 1 if nothing_came else 0
            if empty > self.retry_times:
                return
            for task in intake.tasks(received.deliveries):
                taken += 1
                yield task


@dataclass(frozen=True)
class _Intake:
    """Takes tasks from a queue.

    heartbeat: the SQS client for renewals. seconds: of a lease.
    ends_at_failure: take no message after a task has failed.
    closed: set when a task has failed so, or was stopped.
    asking: held while SQS is asked for messages.
    """

    inbox: Inbox
    heartbeat: Any
    seconds: int
    ends_at_failure: bool = True
    closed: Event = attribute(default_factory=Event)
    asking: Lock = attribute(default_factory=Lock)
    outage: Outage = attribute(default_factory=lambda: Outage("SQS (lease renewal)"))

    def receive(self) -> Received:
        """The next message; nothing once a task has failed. Raises QueueUnavailable."""
        with self.asking:
            return Received([]) if self.closed.is_set() else self.inbox.receive()

    def tasks(self, deliveries: Iterable[Delivery]) -> Iterator[Task]:
        """Their tasks; once a task has failed, messages are given back instead."""
        for delivery in deliveries:
            lease = self._lease(delivery)
            if self.closed.is_set():
                lease.give_back()
            else:
                hold = partial(self._hold, lease)
                yield Task(bbox=delivery.message.box, delivery=delivery, hold=hold)

    def _lease(self, delivery: Delivery) -> Lease:
        inbox = self.inbox
        return Lease(
            inbox.client,
            inbox.queue,
            delivery,
            self.seconds,
            heartbeat=self.heartbeat,
            outage=self.outage,
        )

    @contextmanager
    def _hold(self, lease: Lease) -> Iterator[Callable[[], None]]:
        """Keep the message hidden in the block, then delete it."""
        try:
            with lease:
                yield lease.check
                lease.check()
                lease.acknowledge()
        except BaseException as error:
            if self.ends_at_failure or not isinstance(error, Exception):
                self.closed.set()
            self._settle(lease, error)
            raise

    def _settle(self, lease: Lease, error: BaseException) -> None:
        try:
            if isinstance(error, (Preempted, PipelineMismatch, KeyboardInterrupt)):
                lease.give_back()
            elif isinstance(error, BoxOutsideJob):  # as a malformed message
                lease.dead_letter()
            else:
                with self.asking:  # else the open poll would receive the message at once
                    lease.set_delay(0)
        except QueueUnavailable as failure:
            log.warning("the message becomes visible again when its lease expires: %s", failure)
