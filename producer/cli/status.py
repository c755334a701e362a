"""``status``"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import click

from chunkflow_worker.errors import ConfigError
from producer.cli.options import (
    find_ledger,
    ledger_option,
    pipeline_option,
    queue_option,
    sqs_client,
)

if TYPE_CHECKING:
    from producer.look.status import JobStatus


@click.command()
@queue_option
@pipeline_option
@ledger_option
@click.option("--job", help="Name of the job; the latest in the ledger when not given.")
@click.option("--watch", is_flag=True, help="Ask again and again until the job has ended.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=5,
    show_default=True,
    help="Seconds between two polls.",
)
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Seconds for which the queue must look empty before an unfinished job is given up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; one line per poll with --watch.")
@click.pass_context
def status(
    ctx: click.Context,
    queue: str,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    watch: bool,
    interval: float,
    settle: float,
    as_json: bool,
) -> None:
    """Tell how far a job is.

    That is how many tasks wait, are in flight, done, failed, missing or dead. What SQS says of a queue is approximate, and
    counts the messages of all its jobs. Done and failed come from the ledger and are exact; boxes that an earlier job with
    the same ledger has done count too. The rate is that of the time in which the later half of the done tasks finished, by
    a sample of 100 records; with --watch that of the last ten minutes.

    With --watch the exit status is 0 when all boxes are done, and 1 when the queue stays empty before that: the rest
    lies in the dead letters.
    """
    from chunkflow_worker.job.sqs import find_queue
    from producer.look.status import SAMPLE, job_status
    from producer.look.status import watch as watched
    from producer.look.table import show_table

    records = find_ledger(pipeline, ledger)
    if records is None and (job or watch):
        raise click.UsageError("--job and --watch need a ledger: give --ledger or --pipeline")
    client = sqs_client()
    target = find_queue(client, queue)

    def poll(sample: int) -> JobStatus:
        return job_status(client, target, records, job, sample=sample)

    if watch:
        ctx.exit(0 if _watch(watched(poll, lambda: sleep(interval), settle), as_json) else 1)
    now = poll(SAMPLE)
    if as_json:
        click.echo(_as_json(now))
    else:
        show_table(now)


def _watch(statuses: Iterator[JobStatus], as_json: bool) -> bool:
    """Show every status; True when the job is done at the end."""
    from chunkflow_worker.report.progress import progress
    from producer.look.table import note_of

    last = next(statuses)
    total = last.total
    if total is None:
        raise ConfigError.one(
            "watch",
            "job",
            "there is none in the ledger",
            "is this the ledger that the job was enqueued with?",
        )
    with nullcontext() if as_json else progress(total, "done") as show:
        for status in chain([last], statuses):
            last = status
            if show:
                show(status.done, note_of(status))
            else:
                click.echo(_as_json(status))
    if last.complete and not as_json:
        click.echo(f"all {total} tasks of job {last.job} are done")
    elif not last.complete:
        click.echo(
            f"the queue is empty, and {total - last.done} of {total} tasks of job {last.job} are not done; {last.dead} messages "
            f"lie in the dead letters, and {last.failed} boxes have a record of their failure",
            err=True,
        )
    return last.complete


def _as_json(status: JobStatus) -> str:
    return json.dumps(
        asdict(status) | {"percent": status.percent, "eta_seconds": status.eta_seconds}
    )
