"""``chunkflow-producer wait``"""

from __future__ import annotations

from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import click

from chunkflow_worker.report.say import say
from producer.cli.options import (
    interval_option,
    job_option,
    ledger_option,
    notifier,
    notify_option,
    own_queue_option,
    pipeline_option,
    queue_of_job,
    require_ledger,
    settle_option,
    with_pictures,
)
from producer.cli.stages import of_one_stage

if TYPE_CHECKING:
    from producer.look.status import JobStatus

_ENDS = {"failed": "no attempt is left", "timeout": "wait has ended by its --timeout"}
_STATUSES = {"done": 0, "failed": 1, "stopped": 3, "timeout": 4}


@click.command()
@of_one_stage()
@own_queue_option
@pipeline_option
@ledger_option
@job_option
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@interval_option
@settle_option
@notify_option
@click.pass_context
def wait(
    ctx: click.Context,
    queue: str | None,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    timeout: float | None,
    interval: float,
    settle: float,
    channels: tuple[str, ...],
) -> None:
    """Wait until a job has ended, for scripts.

    Exit status: 0 when all boxes are done; 1 when the others have failed for good; 3 when the job
    is paused or cancelled; 4 when --timeout is over before that. Prints one line.
    """
    from producer.cli.status_table import state_lines
    from producer.look.job import require_job
    from producer.look.status import StatusPoll
    from producer.look.wait import wait_for
    from producer.look.watch import watch

    told = notifier(channels)
    records = require_ledger(pipeline, ledger, needed_by="wait")
    name = require_job(records, job).job
    client, target = queue_of_job(queue, records, name)
    asked = StatusPoll(client, target, records, name)
    told = with_pictures(told, asked, records)

    def poll(_: int) -> JobStatus:
        return asked.ask(sample=0)

    statuses = watch(poll, lambda: sleep(interval), settle if target else 0)
    outcome, last = wait_for(told.following(statuses), asked.all_are_final, timeout)
    told.end(last, _ENDS.get(outcome, outcome))
    say(f"job {name}: {last.done} of {last.total} boxes are done, {last.failed} failed: {outcome}")
    say(*state_lines(last), err=True)
    ctx.exit(_STATUSES[outcome])
