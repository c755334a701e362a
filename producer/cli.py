"""``chunkflow-producer``: cuts a region into boxes, sends one message per box, and tells how far they are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.errors import ChunkflowError, ConfigError
from chunkflow_worker.grid import Grid
from chunkflow_worker.options import click_options, given_options

if TYPE_CHECKING:
    from chunkflow_worker.ledger import Ledger
    from producer.plan import Plan
    from producer.status import JobStatus

_queue = click.option("--queue", required=True, envvar="CHUNKFLOW_QUEUE", show_envvar=True, help="Name of the SQS queue.")
_pipeline = click.option(
    "--pipeline",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CHUNKFLOW_PIPELINE",
    show_envvar=True,
    help="The workers' pipeline file (YAML).",
)
_ledger = click.option(
    "--ledger",
    envvar="CHUNKFLOW_LEDGER",
    show_envvar=True,
    help="Where task records go; `log` below the pipeline's last saved volume when not given.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chunkflow-worker")
def cli() -> None:
    """Send the tasks of a job to SQS, and see how far they are.

    Region, endpoint and credentials come from the standard AWS variables, profiles and roles.
    """


@cli.command()
@_queue
@click.option("--job", help="Name of the job; the pipeline file's name and the time when not given.")
@_pipeline
@_ledger
@click.option("--dry-run", is_flag=True, help="Tell what would be sent, and send nothing.")
@click.option("--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at the same time.")
@click.pass_context
def enqueue(
    ctx: click.Context,
    /,
    queue: str,
    job: str | None,
    pipeline: Path | None,
    ledger: str | None,
    dry_run: bool,
    threads: int,
    **grid: Any,
) -> None:
    """Cut a region into boxes and send one message per box.

    The region may also stand in the pipeline file, under `tasks:` as `op: generate-tasks`; the options given here take
    its place. The queue must exist. The job is recorded in the ledger before anything is sent.
    """
    from producer.plan import PipelineFile, make_plan
    from producer.queue import check_name

    check_name(queue)
    file = PipelineFile.load(pipeline) if pipeline else None
    plan = make_plan(queue, job, given_options(ctx, grid), file)
    first, last = plan.boxes[0], plan.boxes[-1]
    click.echo(f"{len(plan.boxes)} tasks, from {first} to {last}", err=True)
    if dry_run:
        click.echo(f"{len(plan.boxes)} tasks of job {plan.record.job}\nfirst {first}\nlast  {last}\nnothing was sent")
        return
    path = ledger or (file.ledger_path if file else None)
    _send(plan, path, threads)
    size = "x".join(str(n) for n in plan.boxes.chunk_size)
    command = f"chunkflow-producer status --queue {queue}" + (f" --ledger {shlex.quote(path)}" if path else "")
    click.echo(f"enqueued {len(plan.boxes)} tasks of job {plan.record.job} to queue {queue} (boxes {size}), status: {command}")


enqueue.params.extend(click_options(Grid))


def _send(plan: Plan, ledger_path: str | None, threads: int) -> None:
    from chunkflow_worker.ledger import Ledger
    from chunkflow_worker.message import TaskMessage, encode
    from chunkflow_worker.progress import duration_text, progress
    from chunkflow_worker.sqs import find_queue
    from producer.plan import record_job, some_are_done
    from producer.queue import SendingFailed, send

    client, total, record = _client(threads), len(plan.boxes), plan.record
    target = find_queue(client, record.queue)
    if ledger_path:
        ledger = Ledger(ledger_path)
        if record_job(ledger, record) and some_are_done(ledger, plan.boxes):
            click.echo(
                f"note: boxes of this job have records in {ledger.path} already and count as done; "
                "give it another --ledger to count this run alone",
                err=True,
            )
    bodies = (encode(TaskMessage(job=record.job, bbox=str(box), pipeline=record.pipeline), target.name) for box in plan.boxes)
    began, done = monotonic(), 0
    try:
        with progress(total, "sent") as show:

            def sent(count: int) -> None:
                nonlocal done
                done = count
                show(done, f"{duration_text((monotonic() - began) * (total - done) / done)} left")

            send(client, target.url, bodies, threads=threads, sent=sent)
    except SendingFailed as error:
        done = error.first_unsent
        raise
    finally:
        if done < total:
            index = plan.boxes.first + done
            click.echo(f"for the rest, repeat the command with --job {record.job} --task-index-start {index}", err=True)


@cli.group()
def queue() -> None:
    """Make or delete the queue of a job, with its dead letters."""


@queue.command("create")
@click.argument("name")
@click.option("--max-receives", type=click.IntRange(1, 1000), default=5, show_default=True, help="Attempts at a task.")
@click.option(
    "--visibility",
    type=click.IntRange(1, 43200),
    default=60,
    show_default=True,
    help="Seconds after which a message that a dead worker held is seen by others; workers renew it.",
)
@click.option("--retention-days", type=click.IntRange(1, 14), default=14, show_default=True, help="Days that messages are kept.")
def create(name: str, max_receives: int, visibility: int, retention_days: int) -> None:
    """Make the queue NAME and NAME-dead for its dead letters. What exists is brought to these options."""
    from producer.queue import create_queue

    for made in create_queue(_client(), name, max_receives, visibility, retention_days):
        click.echo(f"{made.url} {'created' if made.created else 'changed' if made.changed else 'was there already'}")
        for attribute, (before, after) in made.changed.items():
            click.echo(f"  {attribute}: {before} -> {after}")


@queue.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Needed: the messages in them are lost.")
def delete(name: str, yes: bool) -> None:
    """Delete the queue NAME and its dead letters NAME-dead."""
    from producer.queue import delete_queue

    if not yes:
        raise click.UsageError(f"all messages in {name} and its dead letters will be lost: add --yes")
    deleted = delete_queue(_client(), name)
    click.echo(f"deleted {' and '.join(deleted)}" if deleted else f"there is no queue {name}")


@cli.command()
@_queue
@_pipeline
@_ledger
@click.option("--job", help="Name of the job; the latest in the ledger when not given.")
@click.option("--watch", is_flag=True, help="Ask again and again until the job has ended.")
@click.option("--interval", type=click.FloatRange(min=0.1), default=5, show_default=True, help="Seconds between two polls.")
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
    """Tell how many tasks wait, are in flight, done, failed, missing or dead.

    What SQS says of a queue is approximate, and counts the messages of all its jobs. Done and failed come from the
    ledger and are exact; boxes that an earlier job with the same ledger has done count too. The rate is that of the
    time in which the later half of the done tasks finished, by a sample of 100 records; with --watch that of the last
    ten minutes.

    With --watch the exit status is 0 when all boxes are done, and 1 when the queue stays empty before that: the rest
    lies in the dead letters.
    """
    from chunkflow_worker.sqs import find_queue
    from producer.report import show_table
    from producer.status import SAMPLE, job_status
    from producer.status import watch as watched

    records = _find_ledger(pipeline, ledger)
    if records is None and (job or watch):
        raise click.UsageError("--job and --watch need a ledger: give --ledger or --pipeline")
    client = _client()
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


@cli.command()
@_queue
@_pipeline
@_ledger
@click.option("--cause", help="Only boxes whose error text holds this, with its numbers or with # in their place.")
@click.option("--box", help="Only this box, z0-z1_y0-y1_x0-x1.")
def redrive(queue: str, pipeline: Path | None, ledger: str | None, cause: str | None, box: str | None) -> None:
    """Send dead letters back to the queue: all, or those of a cause or a box. Their attempts start at 0 again.

    Messages that no worker can run stay where they are, and are told. Causes are read from the ledger.
    """
    from chunkflow_worker.bbox import BoundingBox
    from chunkflow_worker.sqs import find_queue
    from producer.dead import choice
    from producer.dead import redrive as send_back

    if box is not None:
        try:
            box = str(BoundingBox.parse(box))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--box") from None
    records = _find_ledger(pipeline, ledger)
    if cause is not None and records is None:
        raise click.UsageError("--cause needs a ledger: give --ledger or --pipeline")
    client = _client()
    target = find_queue(client, queue)
    result = send_back(client, target, choice(records, cause, box))
    for problem in result.malformed:
        click.echo(f"left where it is, no worker can run it: {problem}", err=True)
    click.echo(f"sent {result.sent} dead letters back to queue {target.name}, left {result.left + len(result.malformed)}")


def _watch(statuses: Iterator[JobStatus], as_json: bool) -> bool:
    """Show every status; True when the job is done at the end."""
    from chunkflow_worker.progress import progress
    from producer.report import note_of

    last = next(statuses)
    total = last.total
    if total is None:
        raise ConfigError.one("watch", "job", "there is none in the ledger", "is this the ledger that the job was enqueued with?")
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
    return json.dumps(asdict(status) | {"percent": status.percent, "eta_seconds": status.eta_seconds})


def _find_ledger(pipeline: Path | None, path: str | None) -> Ledger | None:
    from chunkflow_worker.ledger import Ledger
    from producer.plan import PipelineFile

    path = path or (PipelineFile.load(pipeline).ledger_path if pipeline else None)
    return Ledger(path) if path else None


def _client(connections: int = 10) -> Any:
    from chunkflow_worker.settings import Settings
    from chunkflow_worker.sqs import make_client

    return make_client(Settings.load().region, read_seconds=5, connections=connections)


def main(args: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    try:
        return int(cli.main(args, prog_name="chunkflow-producer", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ChunkflowError as error:
        click.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    except (click.Abort, KeyboardInterrupt):
        return 130
