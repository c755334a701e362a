"""`LocalRun`: runs single tasks of a chain on this machine, and records them."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from chunkflow_worker.errors import ENDS_A_RUN, LeaseLost, Preempted, StorageUnavailable
from chunkflow_worker.job.delivery import LOCAL_JOB, Delivery
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.pipeline.run import OpenPipeline
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import publish
from chunkflow_worker.report.say import say, say_text
from chunkflow_worker.service.attempt import Attempt, failed_event, finished_event
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.storage.fence import Fence, fenced


@dataclass(frozen=True)
class LocalRun:
    """Runs single tasks of a chain on this machine. Tasks may run in several threads.

    ledger: where records go; None to write none.
    stop: is set when another task failed; tasks that run end at their next check.
    jobs: refuses messages of jobs, and boxes, that the ledger does not have; None to take any.
    job: of tasks whose message names none.
    keep_going: a task that fails does not end the run.
    failed: such tasks, but for those that will be tried again.
    """

    chain: OpenPipeline
    digest: str
    ledger: Ledger | None
    stop: threading.Event
    jobs: Jobs | None = None
    job: str = LOCAL_JOB
    keep_going: bool = False
    failed: list[Task] = field(default_factory=list)

    def run(self, task: Task) -> None:
        """Run one task and record it. Raises what the chain raises.

        To keep going, it raises only what all other tasks would meet too.
        """
        try:
            self._run(task)
        except ENDS_A_RUN:
            raise
        except LeaseLost as error:
            if not self.keep_going:
                raise
            say_text(f"left {task.bbox} to another process: {error}", err=True)
        except Exception as error:
            if not self.keep_going:
                raise
            if task.is_final(error) is not False:  # else another attempt decides
                self.failed.append(task)

    def _run(self, task: Task) -> None:
        with task.hold() as check_hold:
            if task.delivery is not None:
                task.delivery.check_pipeline(self.digest)
                self._check_job(task.delivery)
            if self._is_done(task):
                say(f"{task.bbox} was done by an earlier delivery", err=True)
                return

            def check() -> None:
                if self.stop.is_set():
                    raise Preempted("another task failed")
                check_hold()

            with Attempt(task, self.digest, _worker_name(), job=self.job) as attempt:
                record = self._record(attempt, check)
            if record is not None:
                publish(finished_event(record), self.chain.subscribers)

    def _record(self, attempt: Attempt, check: Callable[[], None]) -> Record | None:
        """Run the chain and record the task; None for a task without a box."""
        why_skipped: str | None = None
        try:
            with fenced(Fence(check)):
                self.chain.run(attempt.task, check)
        except SkipTask as reason:
            why_skipped = str(reason) or "nothing to do"
            say(f"skipped {attempt.box or 'the task'}: {why_skipped}", err=True)
        except (Preempted, LeaseLost):
            raise
        except Exception as error:
            self._record_failure(attempt, error)
            raise
        if attempt.box is None:
            return None
        record = attempt.done() if why_skipped is None else attempt.skipped(why_skipped)
        if self.ledger is not None:
            check()
            self.ledger.write(record)
        return record

    def _record_failure(self, attempt: Attempt, error: Exception) -> None:
        if attempt.box is None:
            if self.keep_going:
                say_text(f"failed: {error}", err=True)
            return
        record = attempt.failed(error, final=_is_final(attempt.task, error))
        if self.ledger is not None:
            try:
                self.ledger.write(record)
            except StorageUnavailable as away:  # the error of the task is what matters
                say_text(f"note: the failure of {attempt.box} is not recorded: {away}", err=True)
        if self.keep_going:  # else the run ends with the error
            publish(failed_event(record), self.chain.subscribers)

    def _check_job(self, delivery: Delivery) -> None:
        """A message that is only a box names no job."""
        if self.jobs is not None and not delivery.plain_body:
            self.jobs.check(delivery.message.job, delivery.message.box)

    def _is_done(self, task: Task) -> bool:
        delivery = task.delivery
        if self.ledger is None or delivery is None or delivery.attempt == 1:
            return False
        return self.ledger.is_done(delivery.message.bbox, delivery.task_id)


def _is_final(task: Task, error: Exception) -> bool:
    """Whether nothing tries the task again by itself."""
    if isinstance(error, ENDS_A_RUN):
        return False
    return task.delivery is None or bool(task.is_final(error))


def _worker_name() -> str:
    return f"local-{platform.node() or 'machine'}-{os.getpid()}"
