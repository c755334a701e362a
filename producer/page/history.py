"""`History`: how many boxes were done when."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

_MOST = 400  # points
_WINDOW = 600.0  # seconds over which a rate is taken
_ENOUGH = 10  # boxes, to tell how sure a rate is


class Point(NamedTuple):
    """time: in seconds since 1970. done: boxes until then."""

    time: float
    done: int


class History:
    """Points of the past; the first ones are estimated from a sample of the records."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def estimate(self, finished: list[float], done: int) -> None:
        """The time before the first look. finished: of a sample of the `done` boxes."""
        times = sorted(finished)
        step = max(1, len(times) // 100)
        chosen = [*range(0, len(times), step)]
        self.points = [Point(times[n], round(done * n / len(times))) for n in chosen]

    def add(self, time: float, done: int) -> Point:
        """The number at a time that is later than all before."""
        point = Point(time, done)
        self.points.append(point)
        if len(self.points) > _MOST:  # the older half gets coarser
            half = len(self.points) // 2
            self.points = self.points[:half:2] + self.points[half:]
        return point

    def counted(self) -> int:
        """Boxes that were done within the time of which the rate is taken."""
        if not self.points:
            return 0
        last = self.points[-1]
        first = next(point for point in self.points if last.time - point.time <= _WINDOW)
        return last.done - first.done


def range_of(seconds: float | None, counted: int) -> tuple[float, float] | None:
    """Between which times a job probably ends, when it is expected to end in `seconds`.

    counted: boxes by which the rate was measured. Their number varies as that of independent
    events does, so that twice its root is a range of about 95%. None where too few tell it.
    """
    if seconds is None or counted < _ENOUGH:
        return None
    spread = min(0.9, 2 / sqrt(counted))
    return seconds / (1 + spread), seconds / (1 - spread)
