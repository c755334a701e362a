"""``chunkflow-producer redrive``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import (
    box_option,
    cause_option,
    ledger_option,
    of_priority,
    open_ledger,
    open_queue,
    pipeline_option,
    priority_option,
    queue_option,
    require_ledger,
    sqs_client,
)
from producer.cli.stages import of_each_stage


@click.command()
@of_each_stage(named=True)
@queue_option
@pipeline_option
@ledger_option
@cause_option
@box_option
@click.option("--job", help="Only tasks of this job.")
@priority_option
def redrive(
    queue: str,
    pipeline: Path | None,
    ledger: str | None,
    cause: str | None,
    box: str | None,
    job: str | None,
    priority: str,
    stage: str,
) -> None:
    """Send dead letters back to the queue.

    Without --cause, --box and --job, all of them are sent. Their attempts are counted from 0 again.
    Messages that no worker can run stay in the dead-letter queue, and are reported. The ledger is
    needed only for --cause.
    """
    from chunkflow_worker.job.state import RUNNING
    from producer.repair.redrive import matcher
    from producer.repair.redrive import redrive as send_back

    if cause is None:
        records = open_ledger(pipeline, ledger)
    else:
        records = require_ledger(pipeline, ledger, needed_by="--cause")
    client = sqs_client()
    target = of_priority(open_queue(client, queue), priority)
    result = send_back(client, target, matcher(records, cause, box, job, stage))
    for problem in result.malformed:
        say(f"not sent, because no worker can run it: {problem}", err=True)
    for name in sorted(result.jobs):
        state = records.states.read(name) if records else RUNNING
        if state.state != "running":
            cure = f"run: chunkflow-producer resume --job {name}"
            say(
                f"note: workers do nothing for job {name}, which is {state.state}; {cure}", err=True
            )
    left = result.left + len(result.malformed)
    say(f"sent {result.sent} dead letters back to queue {target.place}, left {left}")
