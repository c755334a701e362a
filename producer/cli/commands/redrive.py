"""``chunkflow-producer redrive``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import (
    ledger_option,
    open_ledger,
    open_queue,
    pipeline_option,
    queue_option,
    require_ledger,
    sqs_client,
)


@click.command()
@queue_option
@pipeline_option
@ledger_option
@click.option(
    "--cause",
    help="Only tasks whose error contains this text. It may have # for numbers and <box> for "
    "boxes, as in the output of `failures`.",
)
@click.option("--box", help="Only the task of this box, z0-z1_y0-y1_x0-x1.")
def redrive(
    queue: str, pipeline: Path | None, ledger: str | None, cause: str | None, box: str | None
) -> None:
    """Send dead letters back to the queue.

    Without --cause and --box, all of them are sent. Their attempts are counted from 0 again.
    Messages that no worker can run stay in the dead-letter queue, and are reported. The ledger is
    needed only for --cause.
    """
    from chunkflow_worker.image.bbox import BoundingBox
    from producer.repair.redrive import matcher
    from producer.repair.redrive import redrive as send_back

    if box is not None:
        try:
            box = str(BoundingBox.parse(box))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--box") from None
    if cause is None:
        records = open_ledger(pipeline, ledger)
    else:
        records = require_ledger(pipeline, ledger, needed_by="--cause")
    client = sqs_client()
    target = open_queue(client, queue)
    result = send_back(client, target, matcher(records, cause, box))
    for problem in result.malformed:
        say(f"not sent, because no worker can run it: {problem}", err=True)
    left = result.left + len(result.malformed)
    say(f"sent {result.sent} dead letters back to queue {target.name}, left {left}")
