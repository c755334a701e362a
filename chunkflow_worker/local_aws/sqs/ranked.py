"""`Ranked`: keys in the order of a number, in logarithmic time."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

_SPARE = 64


class Ranked:
    """Keys, each with a rank that may change.

    A heap, where entries that no longer count stay until they come to the top, or until they are
    more than the others.
    """

    def __init__(self) -> None:
        self._ranks: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, key: int) -> bool:
        return key in self._ranks

    def put(self, key: int, rank: float) -> None:
        """Add a key, or change its rank."""
        self._ranks[key] = rank
        heappush(self._heap, (rank, key))
        if len(self._heap) > 2 * len(self._ranks) + _SPARE:
            self._heap = [(rank, key) for key, rank in self._ranks.items()]
            heapify(self._heap)

    def discard(self, key: int) -> None:
        self._ranks.pop(key, None)

    def lowest(self) -> int | None:
        """The key with the lowest rank; None when there is none."""
        while self._heap:
            rank, key = self._heap[0]
            if self._ranks.get(key) == rank:
                return key
            heappop(self._heap)
        return None

    def lowest_rank(self) -> float | None:
        key = self.lowest()
        return None if key is None else self._ranks[key]

    def pop_until(self, limit: float) -> int | None:
        """Remove the key with the lowest rank and return it; None when its rank is over a limit."""
        key = self.lowest()
        if key is None or self._ranks[key] > limit:
            return None
        heappop(self._heap)
        del self._ranks[key]
        return key
