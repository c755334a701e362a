"""Whether a process leaks: whether what it uses grows over its life, by a robust slope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

from tests.soak.samples import Life

WARM_UP_SECONDS = 120.0
"""In which caches fill, threads start, and each of them opens its connections."""

LEAST_SAMPLES = 20
"""Of a life after the warm-up; shorter ones say nothing."""

LIMITS: Mapping[str, float] = {"memory": 10e6, "handles": 8, "threads": 8}
"""Growth that is allowed over a life, after the warm-up: bytes, and numbers.

Each task in hand has a thread that renews its lease, so their number goes up and down.
"""


@dataclass(frozen=True)
class Growth:
    """What a process took more of, from the end of the warm-up to its end.

    what: memory, handles or threads. amount: by the median slope. least: by the lower end of the
    slope's interval of confidence (95%), so that noise alone proves nothing.
    """

    name: str
    what: str
    amount: float
    least: float

    @property
    def is_leak(self) -> bool:
        return self.least > LIMITS[self.what]

    def __str__(self) -> str:
        unit = " MB" if self.what == "memory" else ""
        scale = 1e6 if self.what == "memory" else 1
        return (
            f"{self.what} of {self.name} grew by {self.amount / scale:.1f}{unit}, "
            f"over the limit of {LIMITS[self.what] / scale:.0f}{unit}"
        )


def growths(life: Life, whats: Sequence[str] = tuple(LIMITS)) -> Iterator[Growth]:
    """The growth of a process; none when it lived too short.

    whats: of memory, handles and threads, what is looked at.
    """
    first = next((i for i, t in enumerate(life.times) if t - life.times[0] >= WARM_UP_SECONDS), 0)
    times = life.times[first:]
    if first == 0 or len(times) < LEAST_SAMPLES:
        return
    for what in whats:
        found = theilslopes(getattr(life, what)[first:], times)
        seconds = times[-1] - times[0]
        yield Growth(life.name, what, found.slope * seconds, found.low_slope * seconds)
