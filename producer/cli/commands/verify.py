"""``chunkflow-producer verify``"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    boxes_option,
    job_option,
    ledger_option,
    open_queue,
    pipeline_option,
    require_ledger,
    sqs_client,
)
from producer.cli.stages import of_each_stage
from producer.cli.verified import allow_zeros_option, read_back, show_verified

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from producer.look.problem import Problem
    from producer.repair.resend import Resend


@click.command()
@of_each_stage(waves=True)
@pipeline_option
@ledger_option
@job_option
@boxes_option
@click.option(
    "--quick",
    is_flag=True,
    help="Check only that the blocks exist and have the times in the records; read no voxels, "
    "except where a task wrote nothing.",
)
@allow_zeros_option
@click.option(
    "--net",
    default="",
    help="Digest of a model, weights or plugin file, as records hold it: boxes of another are "
    "wrong.",
)
@click.option(
    "--enqueue",
    is_flag=True,
    help="Send the boxes that are wrong to --queue, and remove their records. Boxes that could "
    "not be read or checked are not sent.",
)
@click.option(
    "--queue",
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; by default, the queue of the job.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Number of boxes that are checked, and held in memory, at the same time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every problem.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    box_file: Path | None,
    quick: bool,
    allow_zeros: bool,
    net: str,
    enqueue: bool,
    queue: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Read the output of a job and report what is wrong.

    Finds blocks that are missing, damaged, NaN, zero by mistake, or different from what their task
    left. Workers record a checksum of each block that they store, and the places where they wrote
    nothing; verify reads the blocks back and compares. In images, it also reports blocks that are
    zero where the input of the job is not. Records hold digests of the files of nets and plugins,
    so verify also tells when boxes come from different ones. Files and objects are compared by
    size and checksum, and those of an earlier run are found by the names that only a box has.

    Boxes whose records say nothing that can be compared are listed as not checked. Blocks that
    storage does not give, although it gives others, are listed as unreadable, and the rest is
    checked.

    The exit status is 0 when everything was compared and nothing is wrong, or when all wrong boxes
    were enqueued; 3 when nothing is known to be wrong, but some boxes were not checked or
    unreadable; otherwise, or when boxes come from different nets or plugins and no --net is given,
    it is 1.
    """
    from chunkflow_worker.job.box_file import listed_boxes
    from producer.look.job import require_job
    from producer.plan.record import refuse_cancelled

    records = require_ledger(pipeline, ledger, needed_by="verify")
    record = require_job(records, job)
    if enqueue and not (queue or record.queue):
        raise click.UsageError(f"--enqueue needs --queue: job {record.job} ran without one")
    if enqueue:
        refuse_cancelled(records, record.job)
    boxes = record.boxes()
    if box_file is not None:
        boxes = listed_boxes(boxes, box_file, "chunkflow-producer verify", "--boxes")
    report = read_back(
        records,
        record,
        boxes,
        pipeline,
        quick=quick,
        allow_zeros=allow_zeros,
        net=net,
        threads=threads,
        quiet=as_json,
    )
    found = [problem for problem in report.problems if problem.is_wrong]
    if enqueue and found:
        sent = _enqueue(records, record, queue or record.queue, found)
        report = replace(report, enqueued=sent)
    if as_json:
        say_json(asdict(report))
    else:
        is_part = len(boxes) < record.tasks
        show_verified(report, allow_zeros=allow_zeros, quick=quick, net=net, sample=is_part)
        if is_part:
            say(f"only the boxes of {box_file} were checked: {len(boxes)} of {record.tasks}")
        if report.wrong and not enqueue and not report.is_mixed(net):
            say("", _cure(record))
    ctx.exit(report.exit_status(net))


def _cure(job: JobRecord) -> str:
    if job.queue:
        return "to send the wrong boxes to the queue again, add --enqueue"
    return "to do the wrong boxes again, list them in a file and run the chain on that"


def _enqueue(ledger: Ledger, job: JobRecord, queue: str, problems: list[Problem]) -> int:
    """Send the boxes with a problem, except those that may still have a message.

    Returns the number of boxes that were sent.
    """
    from producer.cli.send_boxes import send_boxes
    from producer.look.status import job_status
    from producer.plan.verified_note import forget_verified
    from producer.repair.resend import choose_boxes

    client = sqs_client()
    target = open_queue(client, queue)
    resend = choose_boxes(problems, job_status(client, target))
    forget_verified(ledger)
    for box in resend.wrong:
        ledger.remove(box)
    _explain_withheld(resend, queue)
    count = len(resend.boxes)
    send_boxes(
        client.meta.region_name,
        target,
        job,
        resend.boxes,
        how_to_resume=lambda sent: "to send the rest, repeat the command",
    )
    say(f"enqueued {count} tasks of job {job.job} to queue {queue}", err=True)
    return count


def _explain_withheld(resend: Resend, queue: str) -> None:
    if not resend.withheld:
        return
    if resend.found_in == "queue":
        reason = f"queue {queue} still has messages, which may be for them"
    else:
        reason = (
            f"queue {queue} has dead letters, which may be for them; "
            f"send those back with: chunkflow-producer redrive --queue {queue}"
        )
    say(f"unfinished boxes that were not sent: {len(resend.withheld)}; {reason}", err=True)
