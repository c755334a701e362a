"""``chunkflow-producer drop``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import (
    box_option,
    cause_option,
    confirm,
    ledger_option,
    open_ledger,
    open_queue,
    pipeline_option,
    queue_option,
    require_ledger,
    sqs_client,
)
from producer.cli.stages import of_one_stage


@click.command()
@of_one_stage(named=True)
@queue_option
@pipeline_option
@ledger_option
@cause_option
@box_option
@click.option("--job", help="Only tasks of this job.")
@click.option("--malformed", is_flag=True, help="Messages that no worker can run.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(
    queue: str,
    pipeline: Path | None,
    ledger: str | None,
    cause: str | None,
    box: str | None,
    job: str | None,
    malformed: bool,
    yes: bool,
    stage: str,
) -> None:
    """Delete dead letters by job, cause or box.

    It deletes those that `redrive` with the same options would send back. With --stage, only those
    of this stage are deleted: several stages may have the same boxes. The records of their failures
    stay in the ledger. All dead letters of a queue are deleted by `queue purge --dead`.
    """
    from producer.repair.drop import drop as delete
    from producer.repair.redrive import matcher

    if not (job or cause or box or malformed):
        raise click.UsageError(
            "drop needs --job, --cause, --box or --malformed; to delete all dead letters: "
            "chunkflow-producer queue purge --dead"
        )
    if cause is None:
        records = open_ledger(pipeline, ledger)
    else:
        records = require_ledger(pipeline, ledger, needed_by="--cause")
    client = sqs_client()
    target = open_queue(client, queue)
    by_task = matcher(records, cause, box, job, stage)
    deleted, left = delete(
        client,
        target,
        lambda message: bool(job or cause or box) and by_task(message),
        lambda count: confirm(f"delete {count} dead letters of queue {target.name}?", yes),
        malformed=malformed,
    )
    say(f"deleted {deleted} dead letters of queue {target.name}, left {left}")
