"""``chunkflow-producer jobs``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from chunkflow_worker.report.say import say, say_json
from producer.cli.options import ledger_option, pipeline_option, require_ledger
from producer.cli.stages import of_each_stage


@click.command()
@of_each_stage()
@pipeline_option
@ledger_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def jobs(pipeline: Path | None, ledger: str | None, as_json: bool) -> None:
    """List the jobs of a ledger, the oldest first.

    Shows the state of each job (running, paused, cancelled or done), how many of its boxes are
    done, how many failed at their last attempt, its queue, and when it was enqueued.
    """
    from producer.look.jobs import job_rows

    records = require_ledger(pipeline, ledger, needed_by="jobs")
    rows = job_rows(records)
    if as_json:
        say_json([asdict(row) for row in rows])
        return
    say(f"ledger {records.path}: jobs: {len(rows)}")
    for row in rows:
        done = "unreadable" if row.done is None else f"{row.done}/{row.total} done"
        parts = [row.job, row.state, done, f"{row.failed or 0} failed"]
        parts += [f"queue {row.queue}" if row.queue else "no queue"]
        parts += [f"enqueued {row.enqueued}"] * bool(row.enqueued)
        say("  " + ", ".join(parts) + (f": {row.why}" if row.why else ""))
