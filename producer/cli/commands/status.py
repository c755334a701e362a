"""``chunkflow-producer status``"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.errors import RetryableError
from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    interval_option,
    job_option,
    ledger_option,
    notifier,
    notify_option,
    open_ledger,
    own_queue_option,
    pipeline_option,
    queue_of_job,
    require_ledger,
    settle_option,
    with_pictures,
)
from producer.cli.stages import of_each_stage
from producer.cli.verified import allow_zeros_option, read_back, sample_option, show_verified

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger
    from producer.look.new_failures import NewFailures
    from producer.look.status import JobStatus, StatusPoll

_SHOWN = 20  # boxes of a sample that are named


@click.command()
@of_each_stage(waves=True, named=True)
@own_queue_option
@pipeline_option
@ledger_option
@job_option
@click.option("--watch", is_flag=True, help="Repeat until the job has ended.")
@interval_option
@settle_option
@sample_option("With --watch: when the job has ended, ")
@allow_zeros_option
@notify_option
@click.option(
    "--link",
    "only_link",
    is_flag=True,
    help="Print only a link to Neuroglancer that shows the volumes of the pipeline, and the boxes "
    "of the job in the colour of their state.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; one line per poll with --watch.")
@click.pass_context
def status(
    ctx: click.Context,
    queue: str | None,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    watch: bool,
    interval: float,
    settle: float,
    sample: int | None,
    allow_zeros: bool,
    channels: tuple[str, ...],
    only_link: bool,
    as_json: bool,
    stage: str,
) -> None:
    """Show the status of a job.

    Shows how many tasks are waiting, in flight, done, failed, missing and dead. SQS counts the
    messages of all jobs in the queue, and only approximately. The numbers of done and failed tasks
    come from the ledger and are exact. A box also counts as done if an earlier job with the same
    ledger did it. The rate covers the time in which the later half of the done tasks finished; it
    is estimated from 100 records. With --watch, it covers the last ten minutes. These records also
    tell which share of the voxels did not fit the type of an operator's output and was clipped.
    Lines tell when SQS will delete the first messages or dead letters of the job within a day. With
    --pipeline, a link shows the volumes of the chain that a browser can read, in Neuroglancer.

    A job that ran from a file of boxes, or on one machine, has no queue: the ledger tells all. A
    box then counts as dead when it has failed and no attempt is left.

    A job that is paused or cancelled is shown with the reason and with the command that resumes it.

    With --watch, boxes that fail meanwhile are told with their errors, at most three at a time. The
    exit status is 0 when all boxes are done, and 1 when the queue stays empty before that: the
    remaining tasks are among the dead letters.

    --watch --verify then checks a sample of the boxes that are done, chosen at random, and the same
    ones in a repeat. It says which. A sample of 20 boxes finds a fault that one box in seven has
    with a probability of 95%, and says nothing of the other boxes. The exit status is also 1 if a
    box of the sample is wrong, and 3 if all boxes are done, but some of the sample could not be
    checked.
    """
    from producer.cli.status_table import causes_line, show_clipped, show_table
    from producer.look.job import no_job
    from producer.look.new_failures import NewFailures
    from producer.look.status import SAMPLE, StatusPoll
    from producer.look.view_link import view_link
    from producer.look.watch import watch as watch_job
    from producer.plan.pipeline_file import PipelineFile

    if sample is not None and not watch:
        raise click.UsageError("--verify needs --watch; chunkflow-producer verify checks all boxes")
    from_command_line = click.core.ParameterSource.COMMANDLINE
    if not watch and ctx.get_parameter_source("channels") is from_command_line:
        raise click.UsageError("--notify needs --watch")
    told = notifier(channels if watch else ())
    if only_link:
        _say_link(pipeline, ledger, job)
        return
    records: Ledger | None
    if job or watch:
        records = require_ledger(pipeline, ledger, needed_by="--watch" if watch else "--job")
    else:
        records = open_ledger(pipeline, ledger)
    client, target = queue_of_job(queue, records, job)
    asked = StatusPoll(client, target, records, job)
    told = with_pictures(told, asked, records)

    def poll(sample: int) -> JobStatus:
        polled = asked.ask(sample)
        if watch and records and polled.total is None:
            raise no_job(records)
        return polled

    if watch:
        statuses = watch_job(poll, lambda: sleep(interval), settle if target else 0)
        failures = NewFailures(records) if records and not as_json else None
        last = _follow(told.following(statuses), asked, failures)
        told.end(last, "no attempt is left")
        if not as_json:
            with suppress(RetryableError):  # the job has ended, whatever happens here
                show_clipped(poll(SAMPLE))
        if not last.complete:
            _explain_end(last)
            if last.dead:
                say(causes_line(last, pipeline, ledger, stage), err=True)
        verified = _verify_sample(records, last.job, sample, pipeline, allow_zeros, as_json)
        ctx.exit(verified if last.complete else 1)
    now = poll(SAMPLE)
    if as_json:
        say_json(_all_of(now))
    else:
        show_table(now)
        if now.dead:
            say(causes_line(now, pipeline, ledger, stage))
        if records is None:
            say("give --pipeline or --ledger to see how far the job is", err=True)
        if pipeline and (link := view_link(PipelineFile.load(pipeline))):
            say(f"view: {link}")


def _say_link(pipeline: Path | None, ledger: str | None, job: str | None) -> None:
    from producer.look.job_link import job_link
    from producer.plan.pipeline_file import PipelineFile

    if pipeline is None:
        raise click.UsageError("--link needs --pipeline, which names the volumes")
    records = require_ledger(pipeline, ledger, needed_by="--link")
    say(job_link(PipelineFile.load(pipeline), records, job))


def _verify_sample(
    ledger: Ledger | None,
    job: str | None,
    count: int | None,
    pipeline: Path | None,
    allow_zeros: bool,
    as_json: bool,
) -> int:
    """Check `count` boxes that are done, and show the result. Returns the exit status of that."""
    from producer.look.job import require_job
    from producer.look.sample import sample_of

    if ledger is None or count is None:
        return 0
    record = require_job(ledger, job)
    boxes, done = sample_of(ledger, record, count)
    if not boxes and not as_json:
        say("no box is done, so there is nothing to verify")
        return 0
    names = [str(box) for box in boxes]
    report = read_back(ledger, record, boxes, pipeline, allow_zeros=allow_zeros, quiet=as_json)
    if as_json:
        say_json({"verified": asdict(report) | {"sample": names, "done": done}})
        return report.exit_status()
    show_verified(report, allow_zeros=allow_zeros, sample=len(boxes) < record.tasks)
    if len(boxes) < record.tasks:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        say(
            f"this is a sample: {len(boxes)} of {done} done boxes, chosen at random: {shown}",
            "nothing is known of the others; chunkflow-producer verify reads them all",
        )
    return report.exit_status()


def _follow(
    statuses: Iterator[JobStatus], asked: StatusPoll, failures: NewFailures | None
) -> JobStatus:
    """Show every status; returns the last one. failures: None to show it as JSON."""
    from chunkflow_worker.report.progress import progress
    from producer.cli.status_table import expiry_lines, progress_note, state_lines

    last, told = next(statuses), set[str]()
    for line in expiry_lines(last):
        say(line, err=True)
    with progress(last.total, "done") if failures else nullcontext() as show:
        for status in chain([last], statuses):
            last = status
            if show and failures:
                new = [line for line in state_lines(status) if line not in told]
                told.update(new)
                say(*new, *_new_failures(asked, failures), err=True)
                show(status.done, progress_note(status))
            else:
                say_json(_all_of(status))
    if last.complete and failures:
        say(f"all {last.total} tasks of job {last.job} are done")
    return last


def _new_failures(asked: StatusPoll, failures: NewFailures) -> list[str]:
    if asked.survey is None:
        return []
    with suppress(RetryableError):  # the job goes on, whatever happens here
        return failures.look(asked.survey.failed())
    return []


def _explain_end(status: JobStatus) -> None:
    left = (status.total or 0) - status.done
    if status.state == "cancelled":
        say(
            f"job {status.job} is cancelled: {left} of {status.total} boxes were not done", err=True
        )
        return
    if not status.queue:
        say(
            f"{left} of {status.total} tasks of job {status.job} are not done, and no attempt is "
            f"left for them",
            err=True,
        )
        return
    say(
        f"the queue is empty, but {left} of {status.total} tasks of job {status.job} are not done; "
        f"dead letters: {status.dead}, boxes with a record of failure: {status.failed}",
        err=True,
    )


def _all_of(status: JobStatus) -> dict[str, Any]:
    estimates = {"percent": status.percent, "eta_seconds": status.eta_seconds}
    return asdict(status) | estimates
