"""``enqueue``"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.config.options import click_options, given_options
from chunkflow_worker.job.grid import Grid
from producer.cli.options import ledger_option, pipeline_option, queue_option, sqs_client

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger
    from producer.plan.job import Plan


@click.command()
@queue_option
@click.option(
    "--job", help="Name of the job; the pipeline file's name and the time when not given."
)
@pipeline_option
@ledger_option
@click.option(
    "--skip-done",
    is_flag=True,
    help="Leave out boxes that the ledger knows as done by this pipeline, if the blocks that they wrote are still there.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be sent, and send nothing.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Requests at the same time.",
)
@click.pass_context
def enqueue(
    ctx: click.Context,
    /,
    queue: str,
    job: str | None,
    pipeline: Path | None,
    ledger: str | None,
    skip_done: bool,
    dry_run: bool,
    threads: int,
    **grid: Any,
) -> None:
    """Cut a region into boxes and send one message per box.

    The region may also stand in the pipeline file, under `tasks:`; the options given here take its
    place. The queue must exist. The job is recorded in the ledger before anything is sent.
    """
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.output import refusal
    from producer.plan.job import make_plan
    from producer.plan.pipeline_file import PipelineFile
    from producer.send.queue import check_name

    check_name(queue)
    file = PipelineFile.load(pipeline) if pipeline else None
    plan = make_plan(queue, job, given_options(ctx, grid), file)
    path = ledger or (file.ledger_path if file else None)
    if skip_done and not path:
        raise click.UsageError("--skip-done needs a ledger: give --ledger or --pipeline")
    records = Ledger(path) if path else None
    first, last = plan.boxes[0], plan.boxes[-1]
    click.echo(f"{len(plan.boxes)} tasks, from {first} to {last}", err=True)
    why = refusal(plan.boxes, file.chain) if file else None
    if why:
        click.echo(f"note: workers are likely to refuse these boxes: {why}", err=True)
    todo = _undone(records, plan, threads) if skip_done and records else None
    count = len(plan.boxes) if todo is None else len(todo)
    if dry_run:
        skipped = "" if todo is None else f", {len(plan.boxes) - count} of them done before"
        click.echo(
            f"{len(plan.boxes)} tasks of job {plan.record.job}{skipped}\nfirst {first}\nlast  {last}\nnothing was sent"
        )
        return
    _send(plan, records, todo, threads)
    size = "x".join(str(n) for n in plan.boxes.chunk_size)
    command = f"chunkflow-producer status --queue {queue}" + (
        f" --ledger {shlex.quote(path)}" if path else ""
    )
    of = "" if todo is None else f" of {len(plan.boxes)}"
    click.echo(
        f"enqueued {count}{of} tasks of job {plan.record.job} to queue {queue} (boxes {size}), status: {command}"
    )


enqueue.params.extend(click_options(Grid))


def _undone(ledger: Ledger, plan: Plan, threads: int) -> dict[str, bool]:
    """The boxes that are yet to be done, and whether one has a record that does not hold any more."""
    from chunkflow_worker.report.progress import progress
    from producer.look.verify import Verifier, verify

    todo: dict[str, bool] = {}
    with progress(len(plan.boxes), "looked at") as show:
        for i, problems in enumerate(
            verify(ledger, plan.boxes, Verifier(plan.record.pipeline, quick=True), threads), 1
        ):
            todo.update({problem.box: problem.recorded for problem in problems})
            show(i, f"{len(todo)} to do")
    return todo


def _send(plan: Plan, ledger: Ledger | None, todo: dict[str, bool] | None, threads: int) -> None:
    from chunkflow_worker.job.sqs import find_queue
    from producer.cli.sending import send_boxes
    from producer.plan.job import record_job, some_are_done

    client, job = sqs_client(threads), plan.record
    target = find_queue(client, job.queue)
    if ledger:
        is_new = record_job(ledger, job)
        if todo is None and is_new and some_are_done(ledger, plan.boxes):
            click.echo(
                f"note: boxes of this job have records in {ledger.path} already and count as done; "
                "add --skip-done to leave them out, or give it another --ledger to count this run alone",
                err=True,
            )
        elif todo is None and not is_new and plan.boxes.first == 0:
            click.echo(
                f"note: job {job.job} was enqueued before; its boxes are sent once more, those that wait and those that are done "
                "too; --skip-done leaves out the latter",
                err=True,
            )
        for box in (box for box, recorded in (todo or {}).items() if recorded):
            ledger.remove(box)

    def rest(done: int) -> str:
        how = f"--task-index-start {plan.boxes.first + done}" if todo is None else "--skip-done"
        return f"for the rest, repeat the command with --job {job.job} {how}"

    boxes: Iterable[object] = plan.boxes if todo is None else todo
    send_boxes(
        client, target, job, boxes, len(plan.boxes) if todo is None else len(todo), rest, threads
    )
