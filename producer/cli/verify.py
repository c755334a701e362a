"""``verify``"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from producer.cli.options import find_ledger, ledger_option, pipeline_option, sqs_client

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger
    from producer.look.verify import Problem, Verifier

_EXAMPLES = 10  # shown of each kind of problem


@click.command()
@pipeline_option
@ledger_option
@click.option("--job", help="Name of the job; the latest in the ledger when not given.")
@click.option(
    "--quick",
    is_flag=True,
    help="Look only whether blocks are there, and not older than their task; read none.",
)
@click.option(
    "--allow-zeros",
    is_flag=True,
    help="Zeros that a task itself wrote are right, as they are in masks and thresholds.",
)
@click.option(
    "--enqueue",
    is_flag=True,
    help="Send just the boxes that are not right to --queue; their records are removed.",
)
@click.option(
    "--queue",
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; that of the job when not given.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Boxes checked at the same time; as many are held in memory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every problem.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    quick: bool,
    allow_zeros: bool,
    enqueue: bool,
    queue: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Read the output of a job, and tell what is not right.

    Blocks may be missing, damaged, NaN, wrongly zero, or not what their task wrote. Workers record a checksum of what they
    store; verify reads it back and compares. Blocks of an image that are zero where the job's input is not are told too.
    Exit status 0 when all is right, or when all that is not was enqueued; else 1.
    """
    from producer.look.job import find_job
    from producer.look.verify import Verifier, input_of
    from producer.plan.pipeline_file import PipelineFile

    records = find_ledger(pipeline, ledger)
    if records is None:
        raise click.UsageError("verify needs a ledger: give --ledger or --pipeline")
    record = find_job(records, job)
    verifier = Verifier(
        record.pipeline,
        input_of(PipelineFile.load(pipeline) if pipeline else None, record),
        quick=quick,
        allow_zeros=allow_zeros,
    )
    with redirect_stdout(io.StringIO()):  # CloudVolume prints what it can't decode
        problems = list(_look(records, record, verifier, threads, as_json))
    enqueued = (
        _enqueue(records, record, queue or record.queue, problems) if enqueue and problems else 0
    )
    wrong = len({problem.box for problem in problems})
    if as_json:
        summary = {"job": record.job, "boxes": record.tasks, "wrong": wrong, "enqueued": enqueued}
        click.echo(json.dumps(summary | {"problems": [asdict(problem) for problem in problems]}))
    else:
        _show(record, problems, "looked at" if quick else "read", allow_zeros)
    ctx.exit(0 if enqueued == wrong else 1)


def _look(
    ledger: Ledger, job: JobRecord, verifier: Verifier, threads: int, quiet: bool
) -> Iterator[Problem]:
    from chunkflow_worker.report.progress import progress
    from producer.look.verify import verify as look

    boxes, wrong = job.boxes(), 0
    with nullcontext() if quiet else progress(len(boxes), "verified") as show:
        for i, problems in enumerate(look(ledger, boxes, verifier, threads), 1):
            wrong += bool(problems)
            if show:
                show(i, f"{wrong} wrong" if wrong else "")
            yield from problems


def _enqueue(ledger: Ledger, job: JobRecord, queue: str, problems: list[Problem]) -> int:
    """Send the boxes that have a problem, except those whose message is still somewhere; returns their number."""
    from chunkflow_worker.job.sqs import find_queue
    from producer.cli.sending import send_boxes
    from producer.look.status import job_status

    client = sqs_client()
    target = find_queue(client, queue)
    status = job_status(client, target)
    kinds = {problem.box: problem.kind for problem in problems}
    again = [box for box, kind in kinds.items() if kind not in ("no-record", "failed")]
    for box in again:
        ledger.remove(box)
    lost = [box for box, kind in kinds.items() if kind in ("no-record", "failed")]
    if lost and not status.idle:
        click.echo(
            f"{len(lost)} boxes without a success are left to the messages that wait in queue {queue}",
            err=True,
        )
    elif lost and status.dead:
        click.echo(
            f"{len(lost)} boxes without a success are not sent, dead letters wait: chunkflow-producer redrive --queue {queue}",
            err=True,
        )
    else:
        again += lost
    send_boxes(
        client, target, job, again, len(again), lambda done: "for the rest, repeat the command"
    )
    click.echo(f"enqueued {len(again)} tasks of job {job.job} to queue {queue}", err=True)
    return len(again)


def _show(job: JobRecord, problems: list[Problem], looked: str, allow_zeros: bool) -> None:
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.verify import KINDS

    if not problems:
        click.echo(
            f"all {job.tasks} boxes of job {job.job} are done, and their blocks {looked}: nothing is wrong"
        )
        return
    wrong = len({problem.box for problem in problems})
    click.echo(f"{wrong} of {job.tasks} boxes of job {job.job} are not right")
    boxes = Counter(kind for _, kind in {(problem.box, problem.kind) for problem in problems})
    for kind, meaning in KINDS.items():
        found = [problem for problem in problems if problem.kind == kind]
        if not found:
            continue
        click.echo(f"\n{kind}, in {boxes_text(boxes[kind])}: {meaning}")
        for problem in found[:_EXAMPLES]:
            click.echo(
                f"  {problem.box}"
                + "".join(f"  {part}" for part in (_where(problem), problem.detail) if part)
            )
        if len(found) > _EXAMPLES:
            click.echo(f"  and {len(found) - _EXAMPLES} more; --json tells all")
    if boxes["zero"] and not allow_zeros:
        click.echo("\nif zeros are right in this output (masks, thresholds), add --allow-zeros")


def _where(problem: Problem) -> str:
    if not problem.volume:
        return ""
    count = len(problem.blocks)
    return problem.volume + (
        f": {problem.blocks[0]}" + (f" and {count - 1} more" if count > 1 else "") if count else ""
    )
