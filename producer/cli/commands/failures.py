"""``chunkflow-producer failures``"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.say import say, say_json, say_text
from producer.cli.options import (
    job_option,
    ledger_option,
    open_ledger,
    open_queue,
    pipeline_option,
    require_ledger,
    sqs_client,
)
from producer.cli.stages import of_each_stage

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from producer.look.failures import Cause, Failure

_BOXES = 5  # shown per cause
_LINES, _LINE_LENGTH = 40, 500  # shown of a log: workers record less


@click.command()
@of_each_stage(named=True)
@click.option(
    "--queue",
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; its URL or ARN will do. Without it, only the ledger is read.",
)
@pipeline_option
@ledger_option
@job_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every failure.")
def failures(
    queue: str | None,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    as_json: bool,
    stage: str,
) -> None:
    """List the dead letters, and the failures in the ledger, by cause.

    Shows the error, the number of attempts, the worker and its log. For each cause, it prints a
    command that reproduces the failure on this machine, and a command that sends the tasks back to
    the queue. The dead letters stay in the dead-letter queue. Others cannot see them while this
    command reads them. A line tells when SQS will delete the first of them within a day.

    SQS deletes dead letters after some days. Boxes of the job that have failed and have no dead
    letter are listed from the ledger.
    """
    from producer.look.failures import reproduce_command, without_letter

    if queue:
        records = open_ledger(pipeline, ledger)
    else:
        records = require_ledger(pipeline, ledger, needed_by="failures without --queue")
    record = _job(records, job) if records else None
    boxes = _boxes(record, job)
    letters = _letters(queue, records, stage) if queue else _Letters([], _fate(record))
    known = {failure.box for cause in letters.causes for failure in cause.failures}
    others = without_letter(records, boxes, known) if records else []
    report = _Report(
        letters.queue,
        letters.causes,
        {
            failure.box: reproduce_command(failure.box, pipeline)
            for cause in (*letters.causes, *others)
            for failure in cause.failures
            if failure.box
        },
        others,
        letters.fate if others else "",
        letters.expires,
    )
    if as_json:
        say_json(asdict(report))
        return
    _show_all(report, pipeline, ledger, stage)
    if letters.causes and not records:
        say("", "give --ledger or --pipeline to see their errors", err=True)


@dataclass(frozen=True)
class _Report:
    """What --json prints.

    causes: of the dead letters. reproduce: a command for each box.
    without_letter: causes of boxes that failed and have no dead letter.
    fate: what is known of the messages of these.
    expires: when SQS deletes the first dead letter, in UTC.
    """

    queue: str
    causes: Sequence[Cause]
    reproduce: dict[str, str]
    without_letter: Sequence[Cause]
    fate: str
    expires: str


class _Letters(NamedTuple):
    """The causes of the dead letters, and what the queue tells of other boxes.

    expires: when SQS deletes the first dead letter, in UTC.
    """

    causes: list[Cause]
    fate: str
    queue: str = ""
    expires: str = ""


def _job(ledger: Ledger, name: str | None) -> JobRecord | None:
    from producer.look.job import find_job

    return find_job(ledger, name)


def _fate(job: JobRecord | None) -> str:
    """What becomes of the boxes that failed, as far as it is known without a queue."""
    if job is None or job.queue:
        return "messages: give --queue"
    return "the job has no queue; list the boxes that are given up in a file to do them again"


def _boxes(job: JobRecord | None, name: str | None) -> Boxes | None:
    """The boxes of the job; None, for those of all jobs, where the latest can't be read."""
    try:
        return job.boxes() if job else None
    except ConfigError as error:
        if name is not None:
            raise
        say_text(f"note: {error}", err=True)
        return None


def _letters(name: str, ledger: Ledger | None, stage: str) -> _Letters:
    """stage: whose dead letters are taken; empty for all."""
    from producer.look.dead_letters import dead_letters
    from producer.look.expiry import expiry
    from producer.look.failures import causes
    from producer.look.status import job_status

    client = sqs_client()
    queue = open_queue(client, name)
    with dead_letters(client, queue) as letters:
        read = [letter for letter in letters if letter.may_be_of(stage)]
        found = causes(read, ledger)
    first = min((letter.sent for letter in read if letter.sent), default="")
    expires = expiry(first, queue.dead_letter_retention_seconds)
    status = job_status(client, queue)
    messages = status.messages
    fate = "no message is left: chunkflow-producer enqueue --skip-done sends these boxes again"
    if messages:
        fate = f"queue {queue.name} still has messages, which may be for them: {messages}"
    return _Letters(found, fate, queue.name, expires)


def _show_all(report: _Report, pipeline: Path | None, ledger: str | None, stage: str) -> None:
    from producer.look.expiry import expiry_line
    from producer.look.failures import redrive_command

    if report.queue:
        say(f"dead letters of queue {report.queue}: {_counts(report.causes)}")
    if near := expiry_line("dead letters", report.expires):
        say(near)
    for number, cause in enumerate(report.causes, 1):
        _show(number, cause, pipeline)
        if cause.failures[0].box and cause.failures[0].error:
            command = redrive_command(cause.text, report.queue, pipeline, ledger, stage)
            say(f"   send back:  {command}")
    if not report.without_letter:
        return
    say(*[""] * bool(report.queue))
    say(f"failed, without a dead letter: {_counts(report.without_letter)}", f"   {report.fate}")
    for number, cause in enumerate(report.without_letter, 1 + len(report.causes)):
        _show(number, cause, pipeline)


def _counts(causes: Sequence[Cause]) -> str:
    count = sum(len(cause.failures) for cause in causes)
    return f"{count}, causes: {len(causes)}" if causes else f"{count}"


def _show(number: int, cause: Cause, pipeline: Path | None) -> None:
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.failures import reproduce_command

    say("", f"{number}. {boxes_text(len(cause.failures))}: {cause.text}")
    say(*(f"   {_line(failure)}" for failure in cause.failures[:_BOXES]))
    if len(cause.failures) > _BOXES:
        say(f"   and {len(cause.failures) - _BOXES} more; --json lists all")
    first = next((one for one in cause.failures if one.log), cause.failures[0])
    if not first.box:
        return
    if first.error:
        error, *more = first.error.split("\n")
        say(f"   error of {first.box}: {error}", *(f"   | {line}" for line in more))
    say(*(f"   | {line[:_LINE_LENGTH]}" for line in first.log[-_LINES:]))
    say(f"   reproduce:  {reproduce_command(first.box, pipeline)}")


def _line(failure: Failure) -> str:
    if not failure.box:
        return failure.error
    parts = [failure.box, f"job {failure.job}" if failure.job else ""]
    if failure.attempts:
        parts += ["given up"] * failure.final
        parts += [f"{failure.attempts} attempts", f"worker {failure.worker}", failure.finished]
    return ", ".join(filter(None, parts))
