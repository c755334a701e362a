"""``redrive``"""

from __future__ import annotations

from pathlib import Path

import click

from producer.cli.options import (
    find_ledger,
    ledger_option,
    pipeline_option,
    queue_option,
    sqs_client,
)


@click.command()
@queue_option
@pipeline_option
@ledger_option
@click.option(
    "--cause",
    help="Only boxes whose error text holds this, with its numbers or with # in their place.",
)
@click.option("--box", help="Only this box, z0-z1_y0-y1_x0-x1.")
def redrive(
    queue: str, pipeline: Path | None, ledger: str | None, cause: str | None, box: str | None
) -> None:
    """Send dead letters back to the queue.

    All, or those of a cause or a box. Their attempts start at 0 again. Messages that no worker can run stay where they are,
    and are told. Causes are read from the ledger.
    """
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.sqs import find_queue
    from producer.repair.redrive import choice
    from producer.repair.redrive import redrive as send_back

    if box is not None:
        try:
            box = str(BoundingBox.parse(box))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--box") from None
    records = find_ledger(pipeline, ledger)
    if cause is not None and records is None:
        raise click.UsageError("--cause needs a ledger: give --ledger or --pipeline")
    client = sqs_client()
    target = find_queue(client, queue)
    result = send_back(client, target, choice(records, cause, box))
    for problem in result.malformed:
        click.echo(f"left where it is, no worker can run it: {problem}", err=True)
    click.echo(
        f"sent {result.sent} dead letters back to queue {target.name}, left {result.left + len(result.malformed)}"
    )
