"""``chunkflow-producer pause``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import options_of_a_decision, require_ledger
from producer.cli.stages import of_each_stage


@click.command()
@of_each_stage()
@options_of_a_decision
@click.option("--why", default="", help="The reason, for those who look at the job.")
def pause(
    queue: str | None, pipeline: Path | None, ledger: str | None, job: str | None, why: str
) -> None:
    """Let workers start no more tasks of a job, until it is resumed.

    Workers look every few seconds (CHUNKFLOW_CONTROL_SECONDS). Tasks in progress are finished.
    Messages of the job stay in the queue, and no attempt is counted. Other jobs go on.
    """
    from producer.repair.decide import decide

    records = require_ledger(pipeline, ledger, needed_by="pause")
    decided = decide(records, job, "paused", why, queue)
    name = decided.job.job
    if decided.before.state == "paused":
        say(f"job {name} was paused already, by {decided.before.by}: {decided.before.why}")
        return
    say(
        f"job {name} is paused: workers start no more of its tasks, and finish those in progress",
        f"to go on, run: chunkflow-producer resume --job {name}",
    )
