"""`OperatorTimes`: how the seconds of each operator change over time."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = 20_000  # records
_BINS, _SHOWN = 40, 7  # bins of time; operators, of which the last one stands for the others
OTHERS = "others"


class OperatorTimes:
    """Keeps when boxes were done, and the seconds of their operators."""

    def __init__(self) -> None:
        self._records: list[tuple[float, Mapping[str, float]]] = []
        self.sums: dict[str, float] = defaultdict(float)

    def add(self, finished: float | None, timer: Mapping[str, float]) -> None:
        """finished: in seconds since 1970; None where it is not known."""
        for operator, seconds in timer.items():
            self.sums[operator] += seconds
        if finished is not None and len(self._records) < _KEPT:
            self._records.append((finished, timer))

    def over_time(self) -> dict[str, Any]:
        """Seconds of each operator for a box, in the mean of those that were done in each bin.

        times: the middle of each bin in which a box was done. operators: (name, seconds of each
        bin), that with the most seconds first.
        """
        if not self._records:
            return {"times": [], "operators": []}
        times = np.array([time for time, _ in self._records])
        first, last = times.min(), times.max()
        width = max(1.0, (last - first) / _BINS)
        bins = np.minimum((times - first) // width, _BINS - 1).astype(int)
        boxes = np.bincount(bins)
        seconds = self._seconds(bins, len(boxes))
        shown = np.flatnonzero(boxes)
        return {
            "times": [float(first + (place + 0.5) * width) for place in shown],
            "operators": [
                (name, [round(float(n), 3) for n in of_bins[shown] / boxes[shown]])
                for name, of_bins in seconds.items()
            ],
        }

    def _seconds(self, bins: Any, count: int) -> dict[str, Any]:
        by_time = sorted(self.sums, key=lambda name: -self.sums[name])
        names = by_time if len(by_time) <= _SHOWN else by_time[: _SHOWN - 1]
        found = {name: np.zeros(count) for name in [*names, OTHERS]}
        for place, (_, timer) in zip(bins.tolist(), self._records, strict=True):
            for operator, seconds in timer.items():
                found[operator if operator in found else OTHERS][place] += seconds
        return {name: of_bins for name, of_bins in found.items() if name != OTHERS or of_bins.any()}
