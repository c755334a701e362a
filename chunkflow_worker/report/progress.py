"""Progress of long work, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

Update = Callable[[int, str], None]
LINE_SECONDS = 10


@contextmanager
def progress(total: int | None, doing: str, plain: bool = False) -> Iterator[Update]:
    """Yields a function that shows how many are done and a note: a bar on a terminal, else a line now and then.

    total: None when it is not known. plain: lines on a terminal too, where something else writes to it.
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

    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        note,
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(doing, total=total, note="")

        def update(done: int, note: str) -> None:
            bar.update(task, completed=done, note=note)

        yield update


def _lines(total: int | None, doing: str) -> Update:
    """A line at the start, at the end, and whenever ten seconds or a tenth of the whole have passed."""
    shown_done, shown_at = -1, -float("inf")

    def update(done: int, note: str) -> None:
        nonlocal shown_done, shown_at
        now = monotonic()
        far = total is not None and (
            done == total != shown_done or (done - shown_done) * 10 >= total
        )
        if far or now - shown_at >= LINE_SECONDS:
            shown_done, shown_at = done, now
            count = (
                f"{doing} {done} of {total} ({done / total:.0%})" if total else f"{doing} {done}"
            )
            sys.stderr.write(", ".join(filter(None, [count, note])) + "\n")

    return update


def boxes_text(count: int) -> str:
    return f"{count} box" if count == 1 else f"{count} boxes"


def duration_text(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return (
        f"{hours} h {minutes:02} min"
        if hours
        else f"{minutes} min {rest:02} s"
        if minutes
        else f"{rest} s"
    )
