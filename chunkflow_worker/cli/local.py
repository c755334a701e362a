"""Running a chain on this machine, and freezing it for workers."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from chunkflow_worker.cli.local_run import LocalRun
from chunkflow_worker.errors import ConfigError, RetryableError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.delivery import LOCAL_JOB
from chunkflow_worker.job.in_order import in_order
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.local_job import check_job_name, record_local_job
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run, TaskSource
from chunkflow_worker.pipeline.run import error_context
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.events import Subscriber
from chunkflow_worker.report.log import log_events, set_up_log
from chunkflow_worker.report.progress import boxes_text, duration_text, progress
from chunkflow_worker.report.say import say
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.storage.local_file import atomic_file


@dataclass(frozen=True)
class LocalOptions:
    """How a local run behaves; see ``chunkflow --help``."""

    dry_run: bool = False
    verbose: bool = False
    ledger: str | None = None
    job: str = LOCAL_JOB
    keep_going: bool = False
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
    """Run all tasks of a chain; while one computes, the next ones load.

    The first error ends the run, unless it is to keep going: then it raises RetryableError at the
    end.
    source: makes the tasks where there is no chain to take it from.
    """
    check_job_name(options.job)
    level = "DEBUG" if options.verbose else "WARNING"
    set_up_log(level, "WARNING", "%(asctime)s %(levelname)s %(message)s")
    source = chain.tasks if chain else source
    if source and source.consumes:
        _refuse_to_waste(source, chain, options)
    alone = Run(needed_box=lambda box, bounds: box, dry_run=options.dry_run)
    name = source.label if source else "chunkflow"
    with error_context(name, None), source.open(alone) if source else nullcontext():
        tasks = _tasks(source, options)
        if chain is None:
            next(iter(tasks), None)  # reports what is wrong with the options of the source
            return
        if source is None or not source.consumes:
            tasks = list(tasks)
    started = perf_counter()
    ledger = _ledger(chain, options)
    ended, failed = _run_tasks(chain, tasks, ledger, options)
    if options.summary:
        from chunkflow_worker.cli.summary import show_summary

        show_summary(ended, perf_counter() - started)
    if failed:
        count = len({task.bbox for task in ended})  # a box may have come again
        raise RetryableError(_failed_text(failed, count, ledger))


def _tasks(source: TaskSource | None, options: LocalOptions) -> Iterable[Task]:
    if source is None:
        return [Task()]
    return source.tasks_to_the_end() if options.keep_going else source.tasks()


def _failed_text(failed: int, count: int, ledger: Ledger | None) -> str:
    causes = f"chunkflow-producer failures --ledger {shlex.quote(ledger.path)}" if ledger else ""
    text = f"{failed} of {boxes_text(count)} failed here"
    return f"{text}\n    causes: {causes}" if causes else text


def _record_job(ledger: Ledger, boxes: Sequence[BoundingBox], digest: str, job: str) -> None:
    if not record_local_job(ledger, job, boxes, digest):
        say(
            "note: the boxes do not lie in one grid, so they are not recorded as a job, and "
            "chunkflow-producer cannot show its status or verify it",
            err=True,
        )


def _run_tasks(
    chain: Pipeline, tasks: Iterable[Task], ledger: Ledger | None, options: LocalOptions
) -> tuple[list[Task], int]:
    """Run tasks through a chain; returns them, without their values, and how many failed."""
    total = len(tasks) if isinstance(tasks, list) else None
    in_flight = options.in_flight if _may_overlap(chain) else 1
    ended: list[Task] = []
    with (
        _stopped_by_sigterm(bool(chain.tasks and chain.tasks.consumes)),
        _subscribers(None if options.dry_run else options.metrics) as subscribers,
        chain.open(subscribers, dry_run=options.dry_run) as opened,
        progress(total, "done", plain=_is_watched(chain)) as show,
    ):
        boxes = chain.tasks.job_boxes() if chain.tasks and ledger else None
        if ledger and boxes:
            _record_job(ledger, boxes, chain.digest, options.job)
        started = perf_counter()
        stop = threading.Event()
        jobs = Jobs(ledger) if ledger else None
        local_run = LocalRun(
            opened, chain.digest, ledger, stop, jobs, options.job, options.keep_going
        )

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
    return ended, len(local_run.failed)


def _time_left(seconds: float, done: int, total: int | None) -> str:
    return "" if total is None else f"{duration_text(seconds * (total - done) / done)} left"


def _ledger(chain: Pipeline, options: LocalOptions) -> Ledger | None:
    """Where records go. A run that keeps going has the ledger that workers would have."""
    if options.dry_run:
        return None
    path = options.ledger or (chain.ledger_path if options.keep_going else None)
    if path:
        return Ledger(path, to_write=True)
    if options.keep_going:
        problem = "is not given, and the chain saves no volume, so failures have no place"
        raise ConfigError.one("--keep-going", "ledger", problem, "give --ledger")
    return None


@contextmanager
def _subscribers(metrics: str | None) -> Iterator[tuple[Subscriber, ...]]:
    """Who subscribes to the events of tasks: the log, and CloudWatch where the user asks for it."""
    if metrics != "cloudwatch":
        yield (log_events,)
        return
    from chunkflow_worker.config.settings import Settings
    from chunkflow_worker.report.cloudwatch import CloudWatch, make_client

    settings = Settings.load()
    client, by_job = make_client(settings.region), settings.metrics_by_job
    cloudwatch = CloudWatch(client, settings.metrics_namespace, by_job=by_job)
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
