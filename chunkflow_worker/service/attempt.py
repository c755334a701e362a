"""`Attempt`: one try of a task, and the record that follows from it."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from types import TracebackType
from typing import Any, Literal

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.delivery import LOCAL_JOB
from chunkflow_worker.job.record import Record
from chunkflow_worker.machine.memory import peak_bytes
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.events import TaskFailed, TaskFinished
from chunkflow_worker.report.excerpt import log_excerpt, traceback_lines
from chunkflow_worker.report.scrub import scrub

_RECORDED_PACKAGES = ("chunkflow-worker", "celery", "kombu", "numpy", "cloud-volume", "torch")

_FILE_TEXT = 130  # characters that a record has for a file, besides its path
_ROOM_FOR_FILES = 3 << 20  # characters; larger records are not read


class Attempt:
    """A context manager that owns the clock, the task and the log's excerpt of one try.

    Workers and local runs use the same one, so they record alike:

        with Attempt(task, digest, worker) as attempt:
            chain.run(attempt.task)
            record = attempt.done()

    task: its box and its delivery say what the record is about.
    pipeline: digest of the chain. worker: name of the worker.
    elapsed: seconds for which the try has been running already.
    job: of a task whose message names none, or that has no message.
    """

    def __init__(
        self,
        task: Task,
        pipeline: str,
        worker: str,
        *,
        elapsed: float = 0.0,
        job: str = LOCAL_JOB,
    ):
        self.task = task
        self.number = task.delivery.attempt if task.delivery else 1
        self._asked, self._job = task.bbox, job
        self._pipeline, self._worker = pipeline, worker
        self._excerpt: deque[str] = deque()
        self._open = ExitStack()
        self._start_clock(elapsed)

    def __enter__(self) -> Attempt:
        self._excerpt = self._open.enter_context(log_excerpt())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def box(self) -> BoundingBox | None:
        """The box that the task was made for, or else the one that it took from a volume."""
        return self._asked or self.task.bbox

    def restart(self) -> None:
        """Begin anew: time spent waiting for storage does not count as the task's."""
        self.task = Task(bbox=self._asked, delivery=self.task.delivery)
        self._start_clock()

    def done(self) -> Record:
        """The record of a success."""
        return self._record("done")

    def skipped(self, why: str) -> Record:
        """The record of a task for which there was nothing to do."""
        return self._record("skipped", skipped=scrub(why) or "nothing to do")

    def failed(self, error: Exception, *, final: bool = False) -> Record:
        """The record of a failure. final: no other attempt will be made."""
        log = [scrub(line) for line in (*self._excerpt, *traceback_lines(error))]
        return self._record("failed", error=scrub(str(error)), log=log, final=final)

    def _start_clock(self, elapsed: float = 0.0) -> None:
        self._clock = perf_counter() - elapsed
        self._started = datetime.now(UTC) - timedelta(seconds=elapsed)

    def _record(
        self,
        state: Literal["done", "skipped", "failed"],
        *,
        skipped: str = "",
        error: str = "",
        log: list[str] | None = None,
        final: bool = False,
    ) -> Record:
        task, delivery, box = self.task, self.task.delivery, self.box
        if box is None:
            raise ValueError("a task without a box has no record")
        return Record(
            bbox=str(box),
            job=delivery.message.job if delivery and not delivery.plain_body else self._job,
            task_id=delivery.task_id if delivery else "",
            state=state,
            attempts=self.number,
            worker=self._worker,
            compute_device=task.device,
            precision=task.precision,
            models=dict(task.models),
            patches=task.patches,
            patches_skipped=task.patches_skipped,
            waited=task.waited,
            device_seconds=task.device_seconds,
            device_memory_peak=task.device_memory_peak,
            device_utilization=task.device_utilization,
            timer=dict(task.seconds),
            seconds=perf_counter() - self._clock,
            memory_peak=peak_bytes(),
            voxels=box.voxels,
            bytes_read=task.bytes_read,
            blocks_reused=task.blocks_reused,
            bytes_reused=task.bytes_reused,
            bytes_written=task.bytes_written,
            written=list(task.written),
            **_files(task),
            unseen=list(task.unseen),
            clipped=list(task.clipped),
            pipeline=self._pipeline,
            versions=_versions(),
            started=self._started.isoformat(timespec="milliseconds"),
            finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
            skipped=skipped,
            error=error,
            log=log or [],
            final=final,
        )


def finished_event(record: Record) -> TaskFinished:
    """What subscribers learn about a success."""
    return TaskFinished(
        record.job,
        BoundingBox.parse(record.bbox),
        "skipped" if record.state == "skipped" else "done",
        record.seconds,
        record.voxels,
        record.timer,
        record.compute_device,
        record.patches,
        record.bytes_read,
        record.bytes_written,
    )


def failed_event(record: Record) -> TaskFailed:
    """What subscribers learn about a failure."""
    box = BoundingBox.parse(record.bbox)
    attempt, device = record.attempts, record.compute_device
    return TaskFailed(record.job, box, attempt, record.final, record.error, device)


def _files(task: Task) -> dict[str, Any]:
    """What the record says of files; of too many for a record, that it says nothing."""
    files = list({file.path: file for file in task.files}.values())
    unchecked = list(task.unchecked)
    if sum(len(file.path) + _FILE_TEXT for file in files) > _ROOM_FOR_FILES:
        return {"unchecked": [*unchecked, f"{len(files)} files, too many for a record"]}
    no_files = list(dict.fromkeys(task.no_files))
    return {"files": files, "no_files": no_files, "unchecked": unchecked}


@cache
def _versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, of those installed."""
    found = {}
    for name in _RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
