"""`stage_bars`: one bar for each stage on a terminal, else a line when there is news of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from chunkflow_worker.report.plain import one_line
from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from producer.stages.stage_run import Show, StageView

_LINE_SECONDS = 60


@contextmanager
def stage_bars(names: Sequence[str]) -> Iterator[Show]:
    """Yields a function that shows the view of a stage."""
    if sys.stderr.isatty():
        with _bars(names) as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bars(names: Sequence[str]) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {name: bars.add_task(name, total=None, note="") for name in names}

        def show(view: StageView) -> None:
            note = one_line(f"{view.state} {view.note}".strip())
            bars.update(tasks[view.name], completed=view.done, total=view.total, note=note)

        yield show


def _lines(clock: Callable[[], float] = monotonic) -> Show:
    """Writes a line when a stage changes its state, after a tenth of its boxes, and each minute."""
    shown: dict[str, tuple[StageView, float]] = {}

    def show(view: StageView) -> None:
        now = clock()
        if view.name not in shown or _is_news(view, *shown[view.name], now):
            shown[view.name] = view, now
            say(line_of(view), err=True)

    return show


def _is_news(view: StageView, before: StageView, at: float, now: float) -> bool:
    if (before.state, before.job) != (view.state, view.job):
        return True
    more = view.done - before.done
    is_far = more > 0 and more * 10 >= (view.total or 0)
    return is_far or (before != view and now - at >= _LINE_SECONDS)


def line_of(view: StageView) -> str:
    """For example "stage masks: runs, 3 of 8 boxes done, 1 failed"."""
    if view.state == "waits":
        return f"stage {view.name}: waits {view.note}"
    count = f"{view.done} of {view.total} boxes done" if view.total else ""
    return f"stage {view.name}: " + ", ".join(filter(None, (view.state, count, view.note)))
