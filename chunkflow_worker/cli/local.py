"""Running a chain on this machine, and freezing it for workers."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import click

from chunkflow_worker.errors import ConfigError, PipelineMismatch, Preempted
from chunkflow_worker.job.ledger import Ledger, Record
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run, TaskSource
from chunkflow_worker.pipeline.run import OpenPipeline, error_context
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.report.events import Subscriber, TaskFinished, publish
from chunkflow_worker.report.progress import duration_text, progress
from chunkflow_worker.storage.local_file import atomic_file


@dataclass(frozen=True)
class LocalOptions:
    """How to run a chain on this machine; see the options of `chunkflow`."""

    dry_run: bool
    verbose: bool
    ledger: str | None
    metrics: str | None
    in_flight: int
    summary: bool


def freeze(chain: Pipeline | None, path: Path) -> None:
    """Write a chain as a pipeline file, whole or not at all. Raises StorageUnavailable."""
    import yaml

    if chain is None:
        raise click.UsageError("--freeze needs at least one operator that works on tasks")
    text = yaml.safe_dump(chain.dump(), sort_keys=False, default_flow_style=None, width=120)
    with atomic_file(path) as part:
        part.write_text(
            f"# Check it: chunkflow-worker check {shlex.quote(path.name)}\n{text}", encoding="utf-8"
        )
    click.echo(f"wrote {path}; next: chunkflow-worker check {shlex.quote(str(path))}", err=True)


def run_here(chain: Pipeline | None, source: TaskSource | None, options: LocalOptions) -> None:
    """Run all tasks of a chain; the next ones load while one computes. The first error ends it."""
    logging.basicConfig(
        level="DEBUG" if options.verbose else "WARNING",
        format="%(asctime)s %(levelname)s %(message)s",
    )
    for name in ("botocore", "urllib3", "google", "boto3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    source = chain.tasks if chain else source
    if source and source.consumes:
        _refuse_to_waste(source, chain, options)
    alone = Run(needed_box=lambda box, bounds: box, dry_run=options.dry_run)
    with (
        error_context(source.label if source else "chunkflow", None),
        source.open(alone) if source else nullcontext(),
    ):
        if chain is None:
            next(
                source.tasks() if source else iter(()), None
            )  # finds what is wrong with its options
            return
        tasks: Iterable[Task] = source.tasks() if source else [Task()]
        if source is None or not source.consumes:
            tasks = list(tasks)
    total = len(tasks) if isinstance(tasks, list) else None
    ledger = Ledger(options.ledger) if options.ledger and not options.dry_run else None
    in_flight = options.in_flight if _may_overlap(chain) else 1
    if total is not None:
        in_flight = min(in_flight, total)
    ended: list[Task] = []
    with (
        _stopped_by_sigterm(bool(source and source.consumes)),
        _subscribers(None if options.dry_run else options.metrics) as subscribers,
        chain.open(subscribers, dry_run=options.dry_run) as opened,
        progress(total, "done", plain=_is_watched(chain)) as show,
    ):
        started = perf_counter()

        def run(task: Task, check: Callable[[], None]) -> None:
            task.progress = lambda note: show(done, note)
            _run_one(opened, task, ledger, chain.digest, check)
            task.values.clear()  # a task is kept for the summary, and its chunks may be large

        done = 0
        for done, task in enumerate(in_order(run, tasks, in_flight), 1):
            if options.summary:
                ended.append(task)
            show(
                done,
                ""
                if total is None
                else f"{duration_text((perf_counter() - started) * (total - done) / done)} left",
            )
        seconds = perf_counter() - started
    if options.summary:
        from chunkflow_worker.cli.summary import show_summary

        show_summary(ended, seconds)


@contextmanager
def _subscribers(metrics: str | None) -> Iterator[tuple[Subscriber, ...]]:
    """Who is told what happens to tasks: the log, and CloudWatch where it is asked for."""
    from chunkflow_worker.report.log import log_events

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
        raise ConfigError.one(
            "chunkflow", source.op, "is followed by no operator that works on its tasks"
        )
    if options.dry_run:
        cure = "try the chain on one box, made by another operator: chunkflow --help lists them under Tasks"
        raise ConfigError.one(
            "chunkflow", source.op, "would take tasks away that --dry-run does not do", cure
        )


@contextmanager
def _stopped_by_sigterm(wanted: bool) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that tasks go back to where they came from."""
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


def in_order(
    run: Callable[[Task, Callable[[], None]], None], tasks: Iterable[Task], in_flight: int
) -> Iterator[Task]:
    """Run tasks, so many at the same time, and yield each when it and all before it are done; `run` is given a check.

    When one fails, or the caller stops, tasks that run end at their next check, and what failed is raised.
    """
    if in_flight == 1:
        for task in tasks:
            run(task, lambda: None)
            yield task
        return
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Preempted("another task failed")

    waiting: deque[tuple[Task, Future[None]]] = deque()
    with ThreadPoolExecutor(in_flight, thread_name_prefix="task") as pool:
        try:
            for task in tasks:
                waiting.append((task, pool.submit(run, task, check)))
                if len(waiting) == in_flight:
                    yield _ended(*waiting.popleft())
            while waiting:
                yield _ended(*waiting.popleft())
        finally:
            stop.set()


def _ended(task: Task, future: Future[None]) -> Task:
    future.result()
    return task


def _may_overlap(chain: Pipeline) -> bool:
    """Not for people who look at one task after another, nor where CloudVolume starts processes, which threads may not."""
    return not _is_watched(chain) and all(
        getattr(operator, "parallel", 1) == 1 for operator in chain.operators
    )


def _is_watched(chain: Pipeline) -> bool:
    return any(operator.group == "View" for operator in chain.operators)


def _run_one(
    opened: OpenPipeline, task: Task, ledger: Ledger | None, digest: str, check: Callable[[], None]
) -> None:
    asked, delivery = task.bbox, task.delivery
    with delivery.hold() as check_hold:
        if delivery.pipeline and delivery.pipeline != digest:
            raise PipelineMismatch(
                f"job {delivery.job} is for pipeline {delivery.pipeline}, and this chain is {digest}"
            )
        if (
            ledger is not None
            and asked is not None
            and delivery.attempt > 1
            and ledger.is_done(asked, delivery.task_id)
        ):
            click.echo(f"{asked} was done by an earlier delivery", err=True)
            return

        def check_both() -> None:
            check()
            check_hold()

        started, clock, skipped = datetime.now(UTC), perf_counter(), ""
        try:
            opened.run(task, check_both)
        except SkipTask as reason:
            skipped = str(reason) or "nothing to do"
            click.echo(f"skipped {asked or task.bbox or 'the task'}: {skipped}", err=True)
        box = asked or task.bbox  # a task without a box may have taken that of a volume
        if box is None:
            return
        seconds = perf_counter() - clock
        state: Literal["done", "skipped"] = "skipped" if skipped else "done"
        if ledger is not None:
            check_hold()
            ledger.write(
                Record(
                    bbox=str(box),
                    job=delivery.job,
                    task_id=delivery.task_id,
                    state=state,
                    skipped=skipped,
                    attempts=delivery.attempt,
                    worker=f"local-{os.getpid()}",
                    seconds=seconds,
                    voxels=box.voxels,
                    pipeline=digest,
                    started=started.isoformat(timespec="milliseconds"),
                    finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
                    **task.measured(),
                )
            )
        done = TaskFinished(
            delivery.job, box, state, seconds, box.voxels, dict(task.seconds), task.device
        )
        publish(done, opened.subscribers)
