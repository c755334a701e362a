"""`Quantiles`: median and other percentiles of many numbers, in memory that does not grow."""

from __future__ import annotations

from collections import Counter
from math import ceil, log

ERROR = 0.01
"""The largest relative error of a quantile."""
_GROWTH = (1 + ERROR) / (1 - ERROR)
_LOG = log(_GROWTH)
_LEAST = 1e-9


class Quantiles:
    """Counts numbers in bins that grow by two percent; the order of the numbers does not matter.

    count, total, largest: of all numbers. Numbers below 1e-9 count as 0.
    """

    def __init__(self) -> None:
        self.count, self.total, self.largest = 0, 0.0, 0.0
        self._bins: Counter[int] = Counter()
        self._zeros = 0

    def add(self, value: float) -> None:
        self.count += 1
        if value < _LEAST:
            self._zeros += 1
            return
        self.total += value
        self.largest = max(self.largest, value)
        self._bins[ceil(log(value) / _LOG)] += 1

    @property
    def mean(self) -> float:
        """0 without numbers."""
        return self.total / self.count if self.count else 0.0

    @property
    def median(self) -> float:
        return self.at(0.5)

    def at(self, share: float) -> float:
        """The smallest number that so large a share does not exceed; 0 without numbers.

        share: above 0, at most 1. The result differs by one percent at most.
        """
        rank = ceil(share * self.count) - self._zeros
        if rank <= 0:
            return 0.0
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank <= 0:
                return min(self.largest, _middle(place))
        return self.largest

    def above(self, limit: float) -> int:
        """How many numbers are larger; those within one percent of the limit may count or not."""
        return sum(count for place, count in self._bins.items() if _middle(place) > limit)


def _middle(place: int) -> float:
    """The number that differs least from all of a bin."""
    middle: float = 2 * _GROWTH**place / (_GROWTH + 1)
    return middle
