"""Running a chain on this machine, and freezing it for workers."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from chunkflow_worker.errors import (
    ConfigError,
    LeaseLost,
    Preempted,
    StorageUnavailable,
)
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.in_order import in_order
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run, TaskSource
from chunkflow_worker.pipeline.run import OpenPipeline, error_context
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import Subscriber, publish
from chunkflow_worker.report.log import log_events, set_up_log
from chunkflow_worker.report.progress import duration_text, progress
from chunkflow_worker.report.say import say
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.service.attempt import Attempt, finished_event
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.storage.fence import Fence, fenced
from chunkflow_worker.storage.local_file import atomic_file


@dataclass(frozen=True)
class LocalOptions:
    """How a local run behaves; see ``chunkflow --help``."""

    dry_run: bool = False
    verbose: bool = False
    ledger: str | None = None
    metrics: str | None = None
    in_flight: int = 2
    summary: bool = False


def freeze(chain: Pipeline | None, path: Path) -> None:
    """Write a chain as a pipeline file, as a whole or not at all. Raises StorageUnavailable."""
    import yaml

    if chain is None:
        raise click.UsageError("--freeze needs at least one operator that works on tasks")
    text = yaml.safe_dump(chain.dump(), sort_keys=False, default_flow_style=None, width=120)
    hint = f"# Check it: chunkflow-worker check {shlex.quote(path.name)}\n"
    with atomic_file(path) as part:
        part.write_text(hint + text, encoding="utf-8")
        if scrub(text) != text:
            part.chmod(0o600)
            advice = "write ${env:NAME} for it, which workers replace"
            say(f"note: {path} holds a password, key or token: {advice}", err=True)
    say(f"wrote {path}; next: chunkflow-worker check {shlex.quote(str(path))}", err=True)


def run_here(chain: Pipeline | None, source: TaskSource | None, options: LocalOptions) -> None:
    """Run all tasks of a chain; while one computes, the next ones load. The first error ends it.

    source: makes the tasks where there is no chain to take it from.
    """
    level = "DEBUG" if options.verbose else "WARNING"
    set_up_log(level, "WARNING", "%(asctime)s %(levelname)s %(message)s")
    source = chain.tasks if chain else source
    if source and source.consumes:
        _refuse_to_waste(source, chain, options)
    alone = Run(needed_box=lambda box, bounds: box, dry_run=options.dry_run)
    name = source.label if source else "chunkflow"
    with error_context(name, None), source.open(alone) if source else nullcontext():
        tasks: Iterable[Task] = source.tasks() if source else [Task()]
        if chain is None:
            next(iter(tasks), None)  # reports what is wrong with the options of the source
            return
        if source is None or not source.consumes:
            tasks = list(tasks)
    started = perf_counter()
    ended = _run_tasks(chain, tasks, options)
    if options.summary:
        from chunkflow_worker.cli.summary import show_summary

        show_summary(ended, perf_counter() - started)


def _run_tasks(chain: Pipeline, tasks: Iterable[Task], options: LocalOptions) -> list[Task]:
    """Run tasks through a chain; returns them, without their values."""
    total = len(tasks) if isinstance(tasks, list) else None
    in_flight = options.in_flight if _may_overlap(chain) else 1
    ledger = _ledger(options)
    ended: list[Task] = []
    with (
        _stopped_by_sigterm(bool(chain.tasks and chain.tasks.consumes)),
        _subscribers(None if options.dry_run else options.metrics) as subscribers,
        chain.open(subscribers, dry_run=options.dry_run) as opened,
        progress(total, "done", plain=_is_watched(chain)) as show,
    ):
        started = perf_counter()
        stop = threading.Event()
        jobs = Jobs(ledger) if ledger else None
        local_run = LocalRun(opened, chain.digest, ledger, stop, jobs)

        def run(task: Task) -> Task:
            task.progress = lambda note: show(len(ended), note)
            local_run.run(task)
            task.values.clear()  # a task is kept for the summary, and its chunks may be large
            return task

        threads = in_flight if total is None else min(in_flight, total)
        # A box that takes long must not hold up the others; taken from a queue, they would wait.
        window = threads if total is None or threads == 1 else 2 * threads
        for task in in_order(run, tasks, threads, window=window, stop=stop, name="task"):
            ended.append(task)
            show(len(ended), _time_left(perf_counter() - started, len(ended), total))
    return ended


def _time_left(seconds: float, done: int, total: int | None) -> str:
    return "" if total is None else f"{duration_text(seconds * (total - done) / done)} left"


@dataclass(frozen=True)
class LocalRun:
    """Runs single tasks of a chain on this machine. Tasks may run in several threads.

    ledger: where records go; None to write none.
    stop: is set when another task failed; tasks that run end at their next check.
    jobs: refuses messages of jobs, and boxes, that the ledger does not have; None to take any.
    """

    chain: OpenPipeline
    digest: str
    ledger: Ledger | None
    stop: threading.Event
    jobs: Jobs | None = None

    def run(self, task: Task) -> None:
        """Run one task and record it. Raises what the chain raises."""
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

            with Attempt(task, self.digest, f"local-{os.getpid()}") as attempt:
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
            if self.ledger is not None and attempt.box is not None:
                with suppress(StorageUnavailable):  # the error of the task is what matters
                    self.ledger.write(attempt.failed(error))
            raise
        if attempt.box is None:
            return None
        record = attempt.done() if why_skipped is None else attempt.skipped(why_skipped)
        if self.ledger is not None:
            check()
            self.ledger.write(record)
        return record

    def _check_job(self, delivery: Delivery) -> None:
        """A message that is only a box names no job."""
        if self.jobs is not None and not delivery.plain_body:
            self.jobs.check(delivery.message.job, delivery.message.box)

    def _is_done(self, task: Task) -> bool:
        delivery = task.delivery
        if self.ledger is None or delivery is None or delivery.attempt == 1:
            return False
        return self.ledger.is_done(delivery.message.bbox, delivery.task_id)


def _ledger(options: LocalOptions) -> Ledger | None:
    if not options.ledger or options.dry_run:
        return None
    return Ledger(options.ledger, to_write=True)


@contextmanager
def _subscribers(metrics: str | None) -> Iterator[tuple[Subscriber, ...]]:
    """Who subscribes to the events of tasks: the log, and CloudWatch where the user asks for it."""
    if metrics != "cloudwatch":
        yield (log_events,)
        return
    from chunkflow_worker.config.settings import Settings
    from chunkflow_worker.report.cloudwatch import CloudWatch, make_client

    settings = Settings.load()
    cloudwatch = CloudWatch(make_client(settings.region), settings.metrics_namespace)
    try:
        yield (log_events, cloudwatch)
    finally:
        cloudwatch.close(seconds=30)


def _refuse_to_waste(source: TaskSource, chain: Pipeline | None, options: LocalOptions) -> None:
    """Tasks that are taken from a queue must be worked on."""
    if chain is None:
        problem = "makes tasks, but no operator after it works on them"
        raise ConfigError.one("chunkflow", source.op, problem)
    if options.dry_run:
        problem = "would take tasks from the queue, and --dry-run would not do them"
        cure = "try the chain on a box that is made here"
        raise ConfigError.one("chunkflow", source.op, problem, cure)


@contextmanager
def _stopped_by_sigterm(wanted: bool) -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that tasks go back to where they came from."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _may_overlap(chain: Pipeline) -> bool:
    """False where people look at one task after another."""
    return not _is_watched(chain)


def _is_watched(chain: Pipeline) -> bool:
    return any(operator.group == "View" for operator in chain.operators)
