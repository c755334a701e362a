"""What the commands show of a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chunkflow_worker.report.progress import duration_text

if TYPE_CHECKING:
    from producer.look.status import JobStatus


def show_table(status: JobStatus) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("waiting", str(status.waiting), "in the queue, about")
    table.add_row("in flight", str(status.in_flight), "held by workers, about")
    table.add_row("delayed", str(status.delayed), "about")
    table.add_row("dead letters", str(status.dead), "about; of all jobs")
    if status.total is not None:
        table.add_row("done", str(status.done), f"of {status.total}, {status.percent:.1f}%")
        table.add_row("failed", str(status.failed), "not done, last attempt failed")
        table.add_row("missing", str(status.missing), "no record yet")
        table.add_row("twice", str(status.twice), "done more than once by this job; counted once")
        table.add_row("rate", rate_text(status.rate), "")
        table.add_row("left", duration_text(status.eta_seconds), "")
    click.echo(
        f"queue {status.queue}" + (f", job {status.job}" if status.job else ", no job in a ledger")
    )
    Console(highlight=False).print(table)


def note_of(status: JobStatus) -> str:
    """The numbers beside a progress bar."""
    numbers = [f"{status.waiting} waiting", f"{status.in_flight} in flight"]
    numbers += [
        f"{n} {what}" for n, what in ((status.failed, "failed"), (status.dead, "dead")) if n
    ]
    numbers += (
        [rate_text(status.rate), f"{duration_text(status.eta_seconds)} left"]
        if status.eta_seconds is not None
        else []
    )
    return ", ".join(numbers)


def rate_text(rate: float | None) -> str:
    """Tasks per second, minute or hour."""
    if not rate:
        return "unknown"
    for factor, unit in ((1, "s"), (60, "min")):
        if rate * factor >= 1:
            return f"{rate * factor:.1f}/{unit}"
    return f"{rate * 3600:.1f}/h"
