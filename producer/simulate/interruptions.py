"""When machines are taken away: at random, by the same chance in each hour."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from math import inf

import numpy as np

from producer.cost.fleet import interruptions_an_hour

_AT_ONCE = 10_000


def rate_of(share_an_hour: float) -> float:
    """Interruptions per second of a machine, if this share of the machines is lost in an hour."""
    return interruptions_an_hour(share_an_hour) / 3600


def lives(share_an_hour: float, chance: np.random.Generator) -> Iterator[float]:
    """Seconds from the launch of a machine to the notice of its end, for one after another."""
    if share_an_hour == 0:
        yield from repeat(inf)
    mean = 1 / rate_of(share_an_hour)
    while True:
        yield from chance.exponential(mean, _AT_ONCE).tolist()
