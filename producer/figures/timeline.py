"""`Timeline`: tasks and voxels over time, in bins that grow with the time that a job takes."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BINS = 120
_WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 604800)
_FACTOR = 2  # for bins of more than a week


@dataclass(frozen=True)
class Progress:
    """What finished in each bin.

    start: of the first bin, in seconds since 1970. width: of a bin, in seconds.
    """

    start: float = 0.0
    width: int = 1
    tasks: tuple[int, ...] = ()
    voxels: tuple[int, ...] = ()


class Timeline:
    """Counts what finished when, in any order."""

    def __init__(self, most: int = MOST_BINS) -> None:
        self._most, self._width = most, _WIDTHS[0]
        self._bins: dict[int, list[int]] = {}
        self._first = self._last = 0

    def add(self, moment: float, voxels: int) -> None:
        """moment: in seconds since 1970."""
        place = int(moment // self._width)
        if not self._bins:
            self._first = self._last = place
        self._first, self._last = min(self._first, place), max(self._last, place)
        held = self._bins.setdefault(place, [0, 0])
        held[0] += 1
        held[1] += voxels
        while self._last - self._first >= self._most:
            self._widen()

    def found(self) -> Progress:
        if not self._bins:
            return Progress()
        held = [self._bins.get(i, (0, 0)) for i in range(self._first, self._last + 1)]
        tasks, voxels = zip(*held, strict=True)
        return Progress(float(self._first * self._width), self._width, tasks, voxels)

    def _widen(self) -> None:
        wider = next((w for w in _WIDTHS if w > self._width), self._width * _FACTOR)
        factor = wider // self._width
        bins: dict[int, list[int]] = {}
        for place, (tasks, voxels) in self._bins.items():
            held = bins.setdefault(place // factor, [0, 0])
            held[0] += tasks
            held[1] += voxels
        self._bins, self._width = bins, wider
        self._first, self._last = min(bins), max(bins)
