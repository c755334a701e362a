"""``chunkflow-producer resume``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.report.say import say
from producer.cli.options import options_of_a_decision, require_ledger
from producer.cli.stages import of_each_stage


@click.command()
@of_each_stage()
@options_of_a_decision
def resume(queue: str | None, pipeline: Path | None, ledger: str | None, job: str | None) -> None:
    """Let workers go on with a job that is paused or cancelled.

    Messages that workers put aside come back by themselves: after half of the time for which the
    job was paused, and after 15 minutes at most. Nobody can make SQS show them earlier. Messages
    that were dropped while the job was cancelled are gone: `verify --enqueue` sends their boxes
    again.
    """
    from producer.repair.decide import decide

    records = require_ledger(pipeline, ledger, needed_by="resume")
    decided = decide(records, job, "running", queue=queue)
    name, before = decided.job.job, decided.before
    if before.state == "running":
        say(f"job {name} is running already")
    elif before.state == "paused":
        seconds = before.delay_seconds()
        say(
            f"job {name} goes on: messages that workers have put aside come back "
            f"within about {seconds} s",
            f"tasks that became dead letters: chunkflow-producer redrive --job {name}",
        )
    else:
        say(
            f"job {name} is no longer cancelled; the messages that workers have dropped are gone",
            f"to send its boxes again, run: chunkflow-producer verify --enqueue --job {name}",
        )
