"""The map of boxes as a picture: the grid along one axis, by state or by seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np

from producer.figures.place_map import View
from producer.report.svg import element, label, picture, title
from producer.report.words import plural, seconds

STATES = {
    "done": "done",
    "skipped": "skipped: nothing to do",
    "partly": "some boxes without a record",
    "missing": "no record",
    "failed": "failed, at least one box",
}
"""What a colour stands for, by its class."""
_SIDE, _MOST, _LEAST = 276.0, 21.0, 4.0  # of a picture; of a cell
_LEFT, _TOP = 22.0, 20.0
_PALE = 6  # classes of seconds


def state_picture(view: View) -> str:
    """The states of the boxes."""
    rows, columns = view.boxes.shape
    states = [[_state(view, row, column) for column in range(columns)] for row in range(rows)]

    def words(row: int, column: int) -> str:
        at = row, column
        parts = [f"{view.done[at]} done", f"{view.failed[at]} failed", f"{view.missing[at]} left"]
        return f"{_place(view, row, column)}: {', '.join(parts)} of {view.boxes[at]}"

    about = (
        f"{view.done.sum():,} of {plural(int(view.boxes.sum()), 'box', 'boxes')} are done, "
        f"{view.failed.sum():,} failed, {view.missing.sum():,} have no record."
    )
    return _grid(view, states, words, f"State of the boxes, seen along {view.axis}", about)


def seconds_picture(view: View) -> str:
    """The mean seconds of tasks, pale where they are fast."""
    counts = view.done - view.skipped
    means = np.divide(view.seconds, counts, where=counts > 0, out=np.zeros(counts.shape))
    limits = seconds_limits(means[counts > 0])
    classes = [
        [f"s{np.searchsorted(limits, mean)}" if count else "" for mean, count in pairs]
        for pairs in (zip(*pair, strict=True) for pair in zip(means, counts, strict=True))
    ]

    def words(row: int, column: int) -> str:
        return f"{_place(view, row, column)}: {seconds(float(means[row, column]))} a task"

    about = f"From {seconds(_edge(means, counts, min))} to {seconds(_edge(means, counts, max))}."
    return _grid(view, classes, words, f"Seconds of a task, seen along {view.axis}", about)


def seconds_limits(means: np.ndarray) -> list[float]:
    """The upper limits of all classes but the last."""
    if not means.size:
        return [0.0] * (_PALE - 1)
    low, high = float(means.min()), float(means.max())
    return [low + (high - low) * i / _PALE for i in range(1, _PALE)]


def _edge(means: np.ndarray, counts: np.ndarray, which: Callable[[list[float]], float]) -> float:
    return which([float(mean) for mean in means[counts > 0]] or [0.0])


def _state(view: View, row: int, column: int) -> str:
    at = row, column
    if not view.boxes[at]:
        return ""
    if view.failed[at]:
        return "failed"
    if view.missing[at]:
        return "missing" if view.missing[at] == view.boxes[at] else "partly"
    return "skipped" if view.skipped[at] == view.done[at] else "done"


def _place(view: View, row: int, column: int) -> str:
    parts = []
    for axis, place, step in zip((view.rows, view.columns), (row, column), view.step, strict=True):
        last = (place + 1) * step - 1
        parts.append(f"{axis} {place * step}" + (f"-{last}" if step > 1 else ""))
    return f"boxes {', '.join(parts)}"


def _grid(
    view: View, classes: list[list[str]], words: Callable[[int, int], str], name: str, about: str
) -> str:
    rows, columns = view.boxes.shape
    cell = max(_LEAST, min(_MOST, _SIDE / max(rows, columns)))
    parts = [element("g", "".join(_cells(classes, words, cell)), class_="cells")]
    parts.append(label(f"{view.columns} →", _LEFT, _TOP - 7, class_="axis"))
    parts.append(label(f"{view.rows} ↓", 0.0, _TOP + 10, class_="axis"))
    size = _LEFT + columns * cell + 1, _TOP + rows * cell + 1
    return picture(max(size[0], 60.0), max(size[1], _TOP + 14), name, about, parts)


def _cells(
    classes: list[list[str]], words: Callable[[int, int], str], cell: float
) -> Iterator[str]:
    """A rectangle for each run of the same class in a row; failed cells have a cross too."""
    gap = 1.0 if cell >= 7 else 0.0
    for row, of_row in enumerate(classes):
        for name, run in groupby(range(len(of_row)), key=lambda i, held=of_row: held[i]):  # type: ignore[misc]
            places = list(run)
            if not name:
                continue
            singly = gap or name != "done"
            for group in [[place] for place in places] if singly else [places]:
                x, y = _LEFT + group[0] * cell, _TOP + row * cell
                tip = title(words(row, group[0])) if singly else ""
                width = len(group) * cell - gap
                yield element("rect", tip, x=x, y=y, width=width, height=cell - gap, class_=name)
                if name == "failed":
                    yield _cross(x, y, cell - gap)


def _cross(x: float, y: float, side: float) -> str:
    a, b = side * 0.28, side * 0.44  # from the edge; the length
    path = f"M{x + a:.1f} {y + a:.1f}l{b:.1f} {b:.1f}m0 {-b:.1f}l{-b:.1f} {b:.1f}"
    return element("path", d=path, class_="cross")
