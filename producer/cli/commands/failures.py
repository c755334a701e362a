"""``chunkflow-producer failures``"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    ledger_option,
    open_ledger,
    open_queue,
    pipeline_option,
    queue_option,
    sqs_client,
)

if TYPE_CHECKING:
    from producer.look.failures import Cause, Failure

_BOXES = 5  # shown per cause


@click.command()
@queue_option
@pipeline_option
@ledger_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every dead letter.")
def failures(queue: str, pipeline: Path | None, ledger: str | None, as_json: bool) -> None:
    """List the dead letters, grouped by cause.

    Shows the error, the number of attempts, the worker and its log. For each cause, it prints a
    command that reproduces the failure on this machine, and a command that sends the tasks back to
    the queue. The dead letters stay in the dead-letter queue. Others cannot see them while this
    command reads them. A line tells when SQS will delete the first of them within a day.
    """
    from producer.look.dead_letters import dead_letters
    from producer.look.expiry import expiry, expiry_line
    from producer.look.failures import causes

    records = open_ledger(pipeline, ledger)
    client = sqs_client()
    target = open_queue(client, queue)
    queue = target.name
    with dead_letters(client, target) as letters:
        read = list(letters)
        by_cause = causes(read, records)
    first = min((letter.sent for letter in read if letter.sent), default="")
    expires = expiry(first, target.dead_letter_retention_seconds)
    if as_json:
        say_json(asdict(_report(queue, by_cause, pipeline, expires)))
        return
    count = sum(len(cause.failures) for cause in by_cause)
    of_causes = f", causes: {len(by_cause)}" if by_cause else ""
    say(f"dead letters of queue {queue}: {count}{of_causes}")
    if near := expiry_line("dead letters", expires):
        say(near)
    for number, cause in enumerate(by_cause, 1):
        _show(number, cause, queue, pipeline, ledger)
    if by_cause and not records:
        say("", "give --ledger or --pipeline to see their errors", err=True)


@dataclass(frozen=True)
class _Report:
    """What --json prints.

    reproduce: a command for each box. expires: when SQS deletes the first dead letter, in UTC.
    """

    queue: str
    causes: Sequence[Cause]
    reproduce: dict[str, str]
    expires: str


def _report(queue: str, causes: Sequence[Cause], pipeline: Path | None, expires: str) -> _Report:
    from producer.look.failures import reproduce_command

    boxes = (failure.box for cause in causes for failure in cause.failures if failure.box)
    return _Report(queue, causes, {box: reproduce_command(box, pipeline) for box in boxes}, expires)


def _show(number: int, cause: Cause, queue: str, pipeline: Path | None, ledger: str | None) -> None:
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.failures import reproduce_command

    say("", f"{number}. {boxes_text(len(cause.failures))}: {cause.text}")
    for failure in cause.failures[:_BOXES]:
        say(f"   {_line(failure)}")
    if len(cause.failures) > _BOXES:
        say(f"   and {len(cause.failures) - _BOXES} more; --json lists all")
    first = cause.failures[0]
    if not first.box:
        return
    if first.error:
        error, *more = first.error.split("\n")
        say(f"   error of {first.box}: {error}", *(f"   | {line}" for line in more))
    say(*(f"   | {line}" for line in first.log))
    say(f"   reproduce:  {reproduce_command(first.box, pipeline)}")
    if first.error:
        say(f"   send back:  {_redrive_command(cause, queue, pipeline, ledger)}")


def _line(failure: Failure) -> str:
    if not failure.box:
        return failure.error
    parts = [failure.box, f"job {failure.job}"]
    if failure.attempts:
        parts += [f"{failure.attempts} attempts", f"worker {failure.worker}", failure.finished]
    return ", ".join(filter(None, parts))


def _redrive_command(cause: Cause, queue: str, pipeline: Path | None, ledger: str | None) -> str:
    options = {"queue": queue, "pipeline": pipeline, "ledger": ledger, "cause": cause.text}
    given = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value]
    return " ".join(["chunkflow-producer redrive", *given])
