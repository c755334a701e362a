"""`Handler`: one delivery in, one box done. Knows nothing of Celery.

Started, run, recorded, finished or failed: what `handle` raises decides the message's fate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from chunkflow_worker.errors import (
    BoxOutsideJob,
    JobPaused,
    LeaseLost,
    PermanentError,
    Preempted,
    RetryableError,
    StorageOutage,
)
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.hold import Holds
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import Subscriber, TaskDropped, TaskStarted, publish
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.service.attempt import Attempt, failed_event, finished_event
from chunkflow_worker.service.breaker import Breaker
from chunkflow_worker.service.control import Control
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.storage.fence import Fence, fenced

log = logging.getLogger(__name__)
_MOST_RUNS = 3  # of a chain in one attempt
_Result = TypeVar("_Result")
Check = Callable[[], None]
Working = Callable[[], AbstractContextManager[object]]


class Chain(Protocol):
    """An open chain, or one that opens for its first task. See `OpenPipeline`."""

    @property
    def models(self) -> Mapping[str, str]: ...

    def run(self, task: Task, check: Check) -> None: ...


def _no_check() -> None:
    pass


@dataclass(frozen=True)
class Handler:
    """Does the tasks of one worker process. Its tasks may run in several threads.

    digest: of the chain. worker: name of the worker, for the records.
    max_attempts: after so many, a failure is final.
    jobs: refuses boxes that their job does not have; None to accept any.
    patience: waits out outages of storage; None to fail at once.
    holds: by which other workers keep a task while SQS is away; None to look for none.
    control: which jobs are paused or cancelled; None to do all.
    breaker: pauses a job whose boxes fail; None for no such thing.
    """

    chain: Chain
    digest: str
    ledger: Ledger
    worker: str
    max_attempts: int
    subscribers: tuple[Subscriber, ...] = ()
    jobs: Jobs | None = None
    patience: Patience | None = None
    holds: Holds | None = None
    control: Control | None = None
    breaker: Breaker | None = None

    def handle(
        self,
        delivery: Delivery,
        check: Check = _no_check,
        check_waiting: Check = _no_check,
        fence: Fence | None = None,
        working: Working = nullcontext,
    ) -> None:
        """Do one task; when this returns, the message may be acknowledged.

        check: raises when the task must stop.
        check_waiting: the same, called every moment while the task waits for storage.
        fence: of its writes; asks `check` when not given.
        working: a context for a run of the chain; entering it may wait for other tasks.
        The message of a cancelled job is dropped. Raises JobPaused when the job is paused,
        PermanentError when the message belongs in the dead-letter queue, RetryableError
        when it goes back to the queue.
        """
        message = delivery.message
        if self._is_dropped(delivery):
            return
        delivery.check_pipeline(self.digest)
        if delivery.attempt > 1:
            if self._outlast(lambda: self._is_done(delivery), check_waiting):
                log.info("task %s was done by an earlier delivery", message.bbox)
                return
            if self.holds is not None:
                self._outlast(partial(self.holds.check, message.bbox), check_waiting)
        task = Task(bbox=message.box, delivery=delivery)
        fence = fence or Fence(check)
        with Attempt(task, self.digest, self.worker) as attempt:
            publish(TaskStarted(message.job, message.box, attempt.number), self.subscribers)
            try:
                with fenced(fence):
                    record = self._outlast(
                        partial(self._run, attempt, delivery, check, working),
                        check_waiting,
                        does_box=True,
                    )
                self._note_late_record(record, fence)
            except LeaseLost as error:
                self._record_loss(attempt, fence, error)
                raise
            except (Preempted, StorageOutage):
                raise
            except Exception as error:
                is_final = isinstance(error, PermanentError) or delivery.is_last(self.max_attempts)
                is_refused = isinstance(error, BoxOutsideJob)
                self._record_failure(attempt.failed(error, final=is_final), new=is_refused)
                if self.breaker is not None and not is_refused:
                    self.breaker.failed(message.job, message.bbox, scrub(str(error)))
                raise
        if self.breaker is not None:
            self.breaker.done(message.job)
        publish(finished_event(record), self.subscribers)

    def give_up(self, delivery: Delivery, seconds: float, error: Exception) -> None:
        """Record the failure of a task whose thread does not come back.

        seconds: for which the task has been running.
        """
        task = Task(bbox=delivery.message.box, delivery=delivery)
        attempt = Attempt(task, self.digest, self.worker, elapsed=seconds)
        is_final = delivery.is_last(self.max_attempts)
        self._record_failure(attempt.failed(error, final=is_final))

    def note_late(self, delivery: Delivery, error: LeaseLost) -> None:
        """Note that a task whose thread does not come back wrote, and then lost its lease."""
        task = Task(bbox=delivery.message.box, delivery=delivery, models=dict(self.chain.models))
        self._write_late(Attempt(task, self.digest, self.worker).failed(error))

    def _is_dropped(self, delivery: Delivery) -> bool:
        """Whether the job is cancelled. Raises JobPaused."""
        if self.control is None:
            return False
        message = delivery.message
        state = self.control.state(message.job)
        if state.state == "paused":
            raise JobPaused(message.job, state.delay_seconds())
        if state.state == "running":
            return False
        self.control.note_dropped(message.job)
        publish(TaskDropped(message.job, message.box), self.subscribers)
        return True

    def _is_done(self, delivery: Delivery) -> bool:
        return self.ledger.is_done(delivery.message.bbox, delivery.task_id)

    def _outlast(
        self, work: Callable[[], _Result], check_waiting: Check, *, does_box: bool = False
    ) -> _Result:
        if self.patience is None:
            return work()
        return self.patience.outlast(work, check_waiting, does_box=does_box)

    def _run(self, attempt: Attempt, delivery: Delivery, check: Check, working: Working) -> Record:
        """Run the chain and record the success."""
        attempt.restart()
        if self.jobs is not None:
            self.jobs.check(delivery.message.job, delivery.message.box)
        for _ in range(_MOST_RUNS):
            with working():
                record = self._run_chain(attempt, check)
            late = self.ledger.write_unless_late(record)
            if late is None:
                return record
            log.warning(
                "worker %s, which had lost its lease, wrote to %s with another chain or net: "
                "the box is done again",
                late.worker,
                record.bbox,
            )
            attempt.restart()
        raise RetryableError("workers that have lost their leases go on writing to this box")

    def _run_chain(self, attempt: Attempt, check: Check) -> Record:
        """Run the chain; what it made is not kept."""
        try:
            self.chain.run(attempt.task, check)
        except SkipTask as reason:
            check()
            record = attempt.skipped(str(reason))
        else:
            check()
            record = attempt.done()
        attempt.task.values.clear()
        return record

    def _record_loss(self, attempt: Attempt, fence: Fence, error: LeaseLost) -> None:
        """Record that the lease was lost, and that what it wrote may stand in the finished box.

        Between the last look at the clock and the end of a write, the process may have been paused
        while another worker did the task.
        """
        record = attempt.failed(error)
        self._record_failure(record)
        if fence.writes:
            self._write_late(record)

    def _note_late_record(self, record: Record, fence: Fence) -> None:
        """Note a record that was still being sent when the lease ended.

        Another worker may have done the box by then, so that its record is replaced now.
        """
        try:
            fence.check()
        except LeaseLost:
            self._write_late(record)
        except RetryableError:
            pass  # the task has to stop, and is done

    def _write_late(self, record: Record) -> None:
        try:
            self.ledger.write_late(record)
        except Exception as failure:
            log.warning("late writes to %s are not recorded: %s", record.bbox, failure)

    def _record_failure(self, record: Record, *, new: bool = False) -> None:
        """new: only if the box has no record: a stranger's message must not replace its own."""
        try:
            if not new or self.ledger.read(record.bbox) is None:
                self.ledger.write(record)
        except Exception as error:
            log.warning("the failure of %s was not recorded: %s", record.bbox, error)
        publish(failed_event(record), self.subscribers)
