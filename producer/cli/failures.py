"""``failures``"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from producer.cli.options import (
    find_ledger,
    ledger_option,
    pipeline_option,
    queue_option,
    sqs_client,
)

if TYPE_CHECKING:
    from producer.look.failures import Cause

_BOXES = 5  # shown of each cause


@click.command()
@queue_option
@pipeline_option
@ledger_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every dead letter.")
def failures(queue: str, pipeline: Path | None, ledger: str | None, as_json: bool) -> None:
    """List the dead letters, grouped by cause.

    Each cause is told with the error, the attempts, the worker, and what it logged. The dead letters stay where they are;
    while they are looked at, for a moment, others do not see them. Each cause comes with the command that reproduces it
    here, and the one that sends its boxes back to the queue.
    """
    from chunkflow_worker.job.sqs import find_queue
    from producer.look.dead_letters import dead_letters
    from producer.look.failures import causes, reproduce_command

    records = find_ledger(pipeline, ledger)
    client = sqs_client()
    with dead_letters(client, find_queue(client, queue)) as letters:
        found = causes(letters, records)
    if as_json:
        commands = {
            failure.box: reproduce_command(failure.box, pipeline)
            for cause in found
            for failure in cause.failures
            if failure.box
        }
        click.echo(
            json.dumps(
                {
                    "queue": queue,
                    "causes": [asdict(cause) for cause in found],
                    "reproduce": commands,
                }
            )
        )
        return
    count = sum(len(cause.failures) for cause in found)
    click.echo(
        f"dead letters of queue {queue}: {count}" + (f", causes: {len(found)}" if found else "")
    )
    for number, cause in enumerate(found, 1):
        _show(number, cause, queue, pipeline, ledger)
    if not records and found:
        click.echo("\ngive --ledger or --pipeline to see their errors", err=True)


def _show(number: int, cause: Cause, queue: str, pipeline: Path | None, ledger: str | None) -> None:
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.failures import reproduce_command

    click.echo(f"\n{number}. {boxes_text(len(cause.failures))}: {cause.text}")
    for failure in cause.failures[:_BOXES]:
        told = [failure.box, f"job {failure.job}" if failure.job else ""]
        if failure.attempts:
            told += [f"{failure.attempts} attempts", f"worker {failure.worker}", failure.finished]
        click.echo("   " + ", ".join(filter(None, told or [failure.error])))
    if len(cause.failures) > _BOXES:
        click.echo(f"   and {len(cause.failures) - _BOXES} more; --json lists all")
    first = cause.failures[0]
    if not first.box:
        click.echo(f"   {first.error}")
        return
    if first.error:
        click.echo(f"   the error of {first.box}: {first.error}")
    for line in first.log:
        click.echo(f"   | {line}")
    place = "".join(
        f" --{name} {shlex.quote(str(p))}"
        for name, p in (("pipeline", pipeline), ("ledger", ledger))
        if p
    )
    click.echo(f"   reproduce:  {reproduce_command(first.box, pipeline)}")
    if first.error:
        click.echo(
            f"   send back:  chunkflow-producer redrive --queue {queue}{place} --cause {shlex.quote(cause.text)}"
        )
