"""The workers over time as a picture: a row for each, with a bar while it had a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from producer.figures.workers import WorkerFigures
from producer.report.svg import element, label, picture, time_ticks, title
from producer.report.words import safe, seconds, share

MOST = 60  # rows; of more workers, some are shown
_WIDTH, _ROW, _TOP = 900.0, 18.0, 22.0
_LEFT, _RIGHT = 190.0, 60.0
_NAME = 28  # characters


def gantt_picture(
    workers: Sequence[WorkerFigures], first: float, last: float, left_early: frozenset[str]
) -> str:
    """first, last: of the job, in seconds since 1970. left_early: names. Empty without workers."""
    if not workers:
        return ""
    shown = some_of(workers)
    wide, length = _WIDTH - _LEFT - _RIGHT, max(last - first, 1e-3)

    def place(moment: float) -> float:
        return _LEFT + wide * (moment - first) / length

    height = _TOP + len(shown) * _ROW + 6
    parts = []
    for at, name in time_ticks(length):
        x = _LEFT + wide * at / length
        parts.append(element("line", x1=x, x2=x, y1=_TOP - 4, y2=height, class_="rule"))
        parts.append(label(name, x, _TOP - 9, class_="axis middle"))
    for row, worker in enumerate(shown):
        y = _TOP + row * _ROW
        parts.append(label(safe(worker.name, _NAME), _LEFT - 8, y + 13, class_="axis end"))
        parts.append(_bars(worker, y, place))
        busy = share(worker.busy / worker.there) if worker.there else ""
        parts.append(label(busy, _WIDTH - _RIGHT + 8, y + 13, class_="axis"))
        if worker.name in left_early:
            x = place(worker.last) + 4
            path = f"M{x:.1f} {y + 5:.1f}l7 7m0 -7l-7 7"
            tip = title("ended before the job: stopped, interrupted, or killed")
            parts.append(element("path", tip, d=path, class_="left"))
    about = f"{len(shown)} of {len(workers)} workers; bars are the times in which they had a task."
    return picture(_WIDTH, height, "Workers over time", about, parts)


def some_of(workers: Sequence[WorkerFigures]) -> list[WorkerFigures]:
    """All workers, or as many as there are rows, evenly spread."""
    count = len(workers)
    if count <= MOST:
        return list(workers)
    return [workers[i * count // MOST] for i in range(MOST)]


def _bars(worker: WorkerFigures, top: float, place: Callable[[float], float]) -> str:
    """The bars of a worker. place: of a time, from the left."""
    tip = (
        f"{safe(worker.name, 80)}: {worker.tasks} tasks, {worker.failed} failed, "
        f"busy for {seconds(worker.busy)}"
    )
    start, stop, middle = place(worker.first), place(worker.last), top + 9
    there = element("line", x1=start, x2=stop, y1=middle, y2=middle, class_="there")
    parts = [title(tip), there]
    for begin, end in worker.spans:
        x, width = place(begin), max(0.6, place(end) - place(begin))
        bar = element("rect", x=x, y=top + 4, width=width, height=_ROW - 8, class_="busy")
        parts.append(bar)
    return element("g", "".join(parts))
