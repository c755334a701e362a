"""Progress over time as a picture: voxels a second as bars, the share of boxes as a line."""

from __future__ import annotations

from itertools import accumulate

from producer.figures.timeline import Progress
from producer.report.svg import element, label, picture, ticks, time_ticks, title
from producer.report.words import amount, moment

_WIDTH, _HEIGHT = 900.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 88.0, 52.0, 14.0, 30.0


def progress_picture(progress: Progress, total: int) -> str:
    """total: boxes of the job. Empty without a task that finished."""
    if not progress.tasks:
        return ""
    by_voxels = any(progress.voxels)
    counts = progress.voxels if by_voxels else progress.tasks
    unit = "voxel/s" if by_voxels else "tasks/s"
    rates = [count / progress.width for count in counts]
    marks = ticks(max(rates))
    highest = max(marks[-1], max(rates)) or 1.0
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step, base = wide / len(rates), _HEIGHT - _BOTTOM
    parts = []
    for mark in marks:
        y = base - high * mark / highest
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="rule"))
        parts.append(label(amount(mark, unit), _LEFT - 6, y + 4, class_="axis end"))
    for i, rate in enumerate(rates):
        height = high * rate / highest
        when = moment(progress.start + i * progress.width)
        tip = f"from {when}: {amount(rate, unit)}, {progress.tasks[i] / progress.width:.3g} tasks/s"
        bar = {"x": _LEFT + i * step, "y": base - height, "width": max(0.5, step - 1)}
        parts.append(element("rect", title(tip), **bar, height=height, class_="bar"))
    parts += _line(progress, total, step, high, base)
    for at, name in time_ticks(len(rates) * progress.width):
        x = _LEFT + at / progress.width * step
        parts.append(label(name, x, _HEIGHT - 10, class_="axis middle"))
    about = (
        f"At most {amount(max(rates), unit)} in bins of {progress.width} s; the line is the share "
        f"of the boxes that are done, {_percent(sum(progress.tasks), total)} at the end."
    )
    return picture(_WIDTH, _HEIGHT, "Progress over time", about, parts)


def _line(progress: Progress, total: int, step: float, high: float, base: float) -> list[str]:
    shares = [min(1.0, done / total) if total else 0.0 for done in accumulate(progress.tasks)]
    points = [f"{_LEFT:.1f},{base:.1f}"]
    points += [f"{_LEFT + (i + 1) * step:.1f},{base - high * s:.1f}" for i, s in enumerate(shares)]
    marks = [
        label(f"{percent} %", _WIDTH - _RIGHT + 6, base - high * percent / 100 + 4, class_="axis")
        for percent in (0, 50, 100)
    ]
    return [element("polyline", points=" ".join(points), class_="share"), *marks]


def _percent(done: int, total: int) -> str:
    return f"{100 * min(done, total) / total:.1f} %" if total else "0 %"
