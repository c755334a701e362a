"""The progress of long work on stderr: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from chunkflow_worker.report.plain import one_line
from chunkflow_worker.report.say import say

Update = Callable[[int, str], None]
LINE_SECONDS = 10


@contextmanager
def progress(total: int | None, doing: str, plain: bool = False) -> Iterator[Update]:
    """Yields a function that shows how many items are done, and a note.

    total: number of items; None when it is not known.
    doing: what is done with them, for example "sent".
    plain: write lines on a terminal too, because something else writes to it.
    """
    if sys.stderr.isatty() and not plain:
        with _bar(total, doing) as update:
            yield update
    else:
        yield _lines(total, doing)


@contextmanager
def _bar(total: int | None, doing: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(doing, total=total, note="")

        def update(done: int, note: str) -> None:
            bar.update(task, completed=done, note=one_line(note))

        yield update


def _lines(total: int | None, doing: str) -> Update:
    """Writes a line at the start and the end, after ten seconds, and after a tenth of the items."""
    shown_done, shown_at = -1, -float("inf")

    def update(done: int, note: str) -> None:
        nonlocal shown_done, shown_at
        now = monotonic()
        if now - shown_at < LINE_SECONDS and not _is_far(done, shown_done, total):
            return
        shown_done, shown_at = done, now
        count = f"{doing} {done} of {total} ({done / total:.0%})" if total else f"{doing} {done}"
        say(f"{count}, {note}" if note else count, err=True)

    return update


def _is_far(done: int, shown: int, total: int | None) -> bool:
    """Whether a tenth of the items, or the last of them, were done since a line was shown."""
    if total is None:
        return False
    return (done - shown) * 10 >= total or done == total != shown


def boxes_text(count: int) -> str:
    """For example "1 box" or "12 boxes"."""
    return f"{count} box" if count == 1 else f"{count} boxes"


def duration_text(seconds: float | None) -> str:
    """For example "2 d 7 h", "1 h 02 min", "1 min 01 s" or "59 s"; "unknown" for None."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
