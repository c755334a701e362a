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

from chunkflow_worker.errors import (
    LeaseLost,
    PermanentError,
    PipelineMismatch,
    Preempted,
    StorageOutage,
)
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.job.message import TaskMessage, decode
from chunkflow_worker.pipeline.run import OpenPipeline
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import (
    Subscriber,
    TaskFailed,
    TaskFinished,
    TaskStarted,
    publish,
)
from chunkflow_worker.report.excerpt import log_excerpt, traceback_lines
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.service.patience import Patience

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
            raise PipelineMismatch(
                f"job {message.job} is for pipeline {message.pipeline}, and this worker runs {self.digest}"
            )
        attempt = message.attempts + receives
        if attempt > 1 and self._outlast(lambda: self.ledger.is_done(message.bbox, task_id), waits):
            log.info("task %s was done by an earlier delivery", message.bbox)
            return
        trial = self._trial(message, task_id, attempt)

        def run() -> Record:
            nonlocal trial
            trial = self._trial(message, task_id, attempt)  # an outage before is none of its time
            if self.jobs is not None:
                self.jobs.check(message.job, message.box)
            skipped = scrub(self._run(trial.task, check))
            check()
            done = trial.record(state="skipped" if skipped else "done", skipped=skipped)
            self.ledger.write(done)
            return done

        try:
            with log_excerpt() as lines:
                publish(TaskStarted(message.job, message.box, attempt), self.subscribers)
                done = self._outlast(run, waits)
        except (Preempted, LeaseLost, StorageOutage):
            raise
        except Exception as error:
            final = isinstance(error, PermanentError) or attempt >= self.max_attempts
            excerpt = [scrub(line) for line in (*lines, *traceback_lines(error))]
            self._fail(
                trial.record(state="failed", error=scrub(str(error)), final=final, log=excerpt),
                message,
            )
            raise
        publish(
            TaskFinished(
                message.job,
                message.box,
                "skipped" if done.state == "skipped" else "done",
                done.seconds,
                message.box.voxels,
                dict(trial.task.seconds),
                trial.task.device,
            ),
            self.subscribers,
        )

    def give_up(
        self, message: TaskMessage, task_id: str, receives: int, seconds: float, error: Exception
    ) -> None:
        """Record the failure of a task whose thread does not come back; it will be tried again if attempts are left."""
        attempt = message.attempts + receives
        trial = self._trial(message, task_id, attempt, seconds)
        self._fail(
            trial.record(
                state="failed", error=scrub(str(error)), final=attempt >= self.max_attempts
            ),
            message,
        )

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
            TaskFailed(
                message.job,
                message.box,
                record.attempts,
                record.final,
                record.error,
                record.compute_device,
            ),
            self.subscribers,
        )

    def _trial(
        self, message: TaskMessage, task_id: str, attempt: int, seconds: float = 0.0
    ) -> _Trial:
        known = {
            "bbox": message.bbox,
            "job": message.job,
            "task_id": task_id,
            "attempts": attempt,
            "worker": self.worker,
            "voxels": message.box.voxels,
            "pipeline": self.digest,
            "versions": _VERSIONS,
        }
        return _Trial(
            Task(bbox=message.box),
            known,
            perf_counter() - seconds,
            datetime.now(UTC) - timedelta(seconds=seconds),
        )


@dataclass(frozen=True)
class _Trial:
    """One run of a task. known: of its record, before it ran. clock, started: when it began."""

    task: Task
    known: Mapping[str, Any]
    clock: float
    started: datetime

    def record(self, **outcome: Any) -> Record:
        return Record(
            **self.known,
            **self.task.measured(),
            **outcome,
            seconds=perf_counter() - self.clock,
            started=self.started.isoformat(timespec="milliseconds"),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )


def _installed(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return found


_VERSIONS = _installed("chunkflow-worker", "celery", "kombu", "numpy", "cloud-volume", "torch")
