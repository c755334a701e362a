"""Running a chain on this machine, and freezing it for workers."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from chunkflow_worker.ledger import Ledger, Record
from chunkflow_worker.operator import TaskSource
from chunkflow_worker.pipeline import OpenPipeline, Pipeline
from chunkflow_worker.progress import duration_text, progress
from chunkflow_worker.task import SkipTask, Task


def freeze(chain: Pipeline | None, path: Path) -> None:
    """Write a chain as a pipeline file, whole or not at all."""
    import yaml

    if chain is None:
        raise click.UsageError("--freeze needs at least one operator that works on tasks")
    text = yaml.safe_dump(chain.dump(), sort_keys=False, default_flow_style=None, width=120)
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"# Check it: chunkflow-worker check {path.name}\n{text}")
    part.replace(path)
    click.echo(f"wrote {path}; next: chunkflow-worker check {path}", err=True)


def run_here(chain: Pipeline | None, source: TaskSource | None, options: dict[str, Any]) -> None:
    """Run all tasks of a chain, one after the other. The first error ends it."""
    logging.basicConfig(level="DEBUG" if options["verbose"] else "WARNING", format="%(asctime)s %(levelname)s %(message)s")
    for name in ("botocore", "urllib3", "google", "boto3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if chain is None:
        list(source.tasks() if source else [])
        return
    tasks = list(chain.tasks.tasks()) if chain.tasks else [Task()]
    ledger = Ledger(options["ledger"]) if options["ledger"] else None
    from chunkflow_worker.metrics.log import log_events

    with chain.open((log_events,), dry_run=options["dry_run"]) as opened, progress(len(tasks), "done") as show:
        started = perf_counter()
        for done, task in enumerate(tasks, 1):
            task.progress = partial(show, done - 1)
            _run_one(opened, task, ledger, chain.digest)
            show(done, f"{duration_text((perf_counter() - started) * (len(tasks) - done) / done)} left")


def _run_one(opened: OpenPipeline, task: Task, ledger: Ledger | None, digest: str) -> None:
    started, clock, skipped, asked = datetime.now(UTC), perf_counter(), "", task.bbox
    try:
        opened.run(task)
    except SkipTask as reason:
        skipped = str(reason) or "nothing to do"
        click.echo(f"skipped {asked or task.bbox}: {skipped}", err=True)
    box = asked or task.bbox  # a task without a box may have taken that of a volume
    if ledger is not None and box is not None:
        ledger.write(
            Record(
                bbox=str(box),
                job="local",
                task_id="",
                state="skipped" if skipped else "done",
                skipped=skipped,
                attempts=1,
                worker=f"local-{os.getpid()}",
                seconds=perf_counter() - clock,
                voxels=box.voxels,
                pipeline=digest,
                started=started.isoformat(timespec="milliseconds"),
                finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
                **task.measured(),
            )
        )
