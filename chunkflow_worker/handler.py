"""One message in, one box done: decode, run, record, report. Knows nothing of Celery; what it raises decides the
message's fate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import perf_counter
from typing import Any, TypeVar

from chunkflow_worker.errors import LeaseLost, PermanentError, PipelineMismatch, Preempted, StorageAway
from chunkflow_worker.events import Subscriber, TaskFailed, TaskFinished, TaskStarted, publish
from chunkflow_worker.jobs import Jobs
from chunkflow_worker.ledger import Ledger, Record
from chunkflow_worker.message import TaskMessage, decode
from chunkflow_worker.patience import Patience
from chunkflow_worker.pipeline import OpenPipeline
from chunkflow_worker.scrub import scrub
from chunkflow_worker.task import SkipTask, Task

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Handler:
    """Does the tasks of one worker process. Its tasks may run in several threads."""

    pipeline: OpenPipeline
    digest: str
    ledger: Ledger
    worker: str
    max_attempts: int
    subscribers: tuple[Subscriber, ...] = ()
    jobs: Jobs | None = None
    patience: Patience | None = None

    def handle(
        self,
        kwargs: Mapping[str, Any],
        task_id: str,
        receives: int,
        check: Callable[[], None] = lambda: None,
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        """Do one task; returning means that the message may be acknowledged.

        receives: how often SQS has handed this message out. check: raises when the task must stop.
        waits: as check, and called every moment in which the task waits for storage.
        Raises PermanentError when the message belongs to the dead letters, RetryableError when it goes back.
        """
        message = decode(kwargs)
        if message.pipeline and message.pipeline != self.digest:
            raise PipelineMismatch(f"job {message.job} is for pipeline {message.pipeline}, and this worker runs {self.digest}")
        attempt = message.attempts + receives
        if attempt > 1 and self._outlast(lambda: self.ledger.is_done(message.bbox, task_id), waits):
            log.info("task %s was done by an earlier delivery", message.bbox)
            return
        publish(TaskStarted(message.job, message.box, attempt), self.subscribers)
        task, clock = Task(bbox=message.box), perf_counter()
        record = self._record(message, task_id, attempt, datetime.now(UTC))

        def run() -> Record:
            nonlocal task, clock, record
            task, clock = Task(bbox=message.box), perf_counter()
            record = self._record(message, task_id, attempt, datetime.now(UTC))
            if self.jobs is not None:
                self.jobs.check(message.job, message.box)
            skipped = scrub(self._run(task, check))
            check()
            state = "skipped" if skipped else "done"
            done: Record = record(task, state=state, seconds=perf_counter() - clock, skipped=skipped)
            self.ledger.write(done)
            return done

        try:
            done = self._outlast(run, waits)
        except (Preempted, LeaseLost, StorageAway):
            raise
        except Exception as error:
            final = isinstance(error, PermanentError) or attempt >= self.max_attempts
            seconds = perf_counter() - clock
            self._fail(record(task, state="failed", seconds=seconds, error=scrub(str(error)), final=final), message)
            raise
        publish(
            TaskFinished(
                message.job,
                message.box,
                "skipped" if done.state == "skipped" else "done",
                done.seconds,
                message.box.voxels,
                dict(task.seconds),
                task.device,
            ),
            self.subscribers,
        )

    def give_up(self, message: TaskMessage, task_id: str, receives: int, seconds: float, error: Exception) -> None:
        """Record the failure of a task whose thread does not come back; it will be tried again if attempts are left."""
        attempt = message.attempts + receives
        record = self._record(message, task_id, attempt, datetime.now(UTC) - timedelta(seconds=seconds))
        final = attempt >= self.max_attempts
        self._fail(record(Task(bbox=message.box), state="failed", seconds=seconds, error=scrub(str(error)), final=final), message)

    def _outlast(self, work: Callable[[], _Result], waits: Callable[[], None]) -> _Result:
        return self.patience.outlast(work, waits) if self.patience is not None else work()

    def _run(self, task: Task, check: Callable[[], None]) -> str:
        """Run the chain; the reason why the task was skipped, or an empty text."""
        try:
            self.pipeline.run(task, check)
        except SkipTask as reason:
            return str(reason) or "nothing to do"
        return ""

    def _fail(self, record: Record, message: TaskMessage) -> None:
        try:
            self.ledger.write(record)
        except Exception as error:
            log.warning("the failure of %s was not recorded: %s", record.bbox, error)
        publish(
            TaskFailed(message.job, message.box, record.attempts, record.final, record.error, record.compute_device),
            self.subscribers,
        )

    def _record(self, message: TaskMessage, task_id: str, attempt: int, started: datetime) -> Callable[..., Record]:
        def record(task: Task, **outcome: Any) -> Record:
            return Record(
                bbox=message.bbox,
                job=message.job,
                task_id=task_id,
                attempts=attempt,
                worker=self.worker,
                voxels=message.box.voxels,
                pipeline=self.digest,
                versions=_VERSIONS,
                started=started.isoformat(timespec="milliseconds"),
                finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
                **task.measured(),
                **outcome,
            )

        return record


def _installed(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return found


_VERSIONS = _installed("chunkflow-worker", "celery", "kombu", "numpy", "cloud-volume", "torch")
