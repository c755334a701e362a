"""``chunkflow-producer cancel``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import confirm, options_of_a_decision, require_ledger
from producer.cli.stages import of_each_stage


@click.command()
@of_each_stage()
@options_of_a_decision
@click.option("--why", default="", help="The reason, for those who look at the job.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(
    queue: str | None,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    why: str,
    yes: bool,
) -> None:
    """Let workers drop the messages of a job.

    Workers look every few seconds (CHUNKFLOW_CONTROL_SECONDS), and delete each message of the job
    that comes after. Tasks in progress are finished, and what is done stays. Other jobs go on.
    `status` shows how many boxes were not done. Dead letters stay: see `drop`.
    """
    from producer.look.job import require_job
    from producer.repair.decide import decide

    records = require_ledger(pipeline, ledger, needed_by="cancel")
    name = require_job(records, job).job
    confirm(f"cancel job {name}, so that workers delete its messages?", yes)
    decided = decide(records, name, "cancelled", why, queue)
    if decided.before.state == "cancelled":
        say(f"job {name} was cancelled already, by {decided.before.by}")
        return
    say(f"job {name} is cancelled: workers drop its messages, and finish tasks in progress")
