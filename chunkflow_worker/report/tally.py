"""`TALLY`: counts of what happens to this process beside its tasks, for monitors.

Whatever notices it counts it here, deep inside the layers; `prometheus.py` tells the counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

Counted = Literal["lease_renewals", "lease_renewals_failed", "leases_lost", "outages", "throttles"]


class Tally:
    """Counts by what and of which service. Several threads may share it."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Counted, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, what: Counted, service: str = "") -> None:
        with self._lock:
            self._counts[what, service] += 1

    def of(self, what: Counted) -> dict[str, int]:
        """The counts of one thing by service."""
        with self._lock:
            return {service: n for (name, service), n in self._counts.items() if name == what}


TALLY = Tally()
"""That of this process."""
