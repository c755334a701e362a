"""What the commands show: progress on stderr, a table of the status on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from producer.status import JobStatus

Update = Callable[[int, str], None]
LINE_SECONDS = 10


@contextmanager
def progress(total: int, doing: str) -> Iterator[Update]:
    """Yields a function that shows how many are done and a note: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bar(total, doing) as update:
            yield update
    else:
        yield _lines(total, doing)


@contextmanager
def _bar(total: int, doing: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), note)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(doing, total=total, note="")

        def update(done: int, note: str) -> None:
            bar.update(task, completed=done, note=note)

        yield update


def _lines(total: int, doing: str) -> Update:
    """A line at the start, at the end, and whenever ten seconds or a tenth of the whole have passed."""
    shown_done, shown_at = -1, -float("inf")

    def update(done: int, note: str) -> None:
        nonlocal shown_done, shown_at
        now = monotonic()
        if done == total != shown_done or (done - shown_done) * 10 >= total or now - shown_at >= LINE_SECONDS:
            shown_done, shown_at = done, now
            click.echo(", ".join(filter(None, [f"{doing} {done} of {total} ({done / total:.0%})", note])), err=True)

    return update


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
        table.add_row("rate", rate_text(status.rate), "")
        table.add_row("left", duration_text(status.eta_seconds), "")
    click.echo(f"queue {status.queue}" + (f", job {status.job}" if status.job else ", no job in a ledger"))
    Console(highlight=False).print(table)


def note_of(status: JobStatus) -> str:
    """The numbers beside a progress bar."""
    numbers = [f"{status.waiting} waiting", f"{status.in_flight} in flight"]
    numbers += [f"{n} {what}" for n, what in ((status.failed, "failed"), (status.dead, "dead")) if n]
    numbers += [rate_text(status.rate), f"{duration_text(status.eta_seconds)} left"] if status.eta_seconds is not None else []
    return ", ".join(numbers)


def rate_text(rate: float | None) -> str:
    """Tasks per second, minute or hour."""
    if not rate:
        return "unknown"
    for factor, unit in ((1, "s"), (60, "min")):
        if rate * factor >= 1:
            return f"{rate * factor:.1f}/{unit}"
    return f"{rate * 3600:.1f}/h"


def duration_text(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
