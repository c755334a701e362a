"""`Spans`: times in which something was busy, joined where they overlap."""

from __future__ import annotations

from heapq import nlargest
from itertools import pairwise

_MOST = 500  # that are kept; between more than these, the smallest gaps count as busy


class Spans:
    """Joins spans of time in any order.

    most: spans that are kept. Where a worker does ten thousand tasks one after another, the gaps
    that are closed are those that tasks fill which have not been added yet.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._held: list[tuple[float, float]] = []

    def add(self, start: float, stop: float) -> None:
        self._held.append((start, stop))
        if len(self._held) >= 4 * self._most:
            self._held = _with_few(_joined(self._held), self._most)

    def found(self, most: int | None = None) -> list[tuple[float, float]]:
        """Those that are left, first to last. most: how many; by default, all that are kept."""
        return _with_few(_joined(self._held), most or self._most)

    @property
    def seconds(self) -> float:
        return sum(stop - start for start, stop in _joined(self._held))


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _with_few(spans: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """The same, without the smallest of the gaps between them."""
    if len(spans) <= most:
        return spans
    gaps = nlargest(most - 1, range(1, len(spans)), key=lambda i: spans[i][0] - spans[i - 1][1])
    edges = [0, *sorted(gaps), len(spans)]
    return [(spans[a][0], spans[b - 1][1]) for a, b in pairwise(edges)]
