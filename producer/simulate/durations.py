"""How long each task takes: drawn from a distribution, or from the records of an earlier job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def log_normal(mean: float, spread: float, count: int, chance: np.random.Generator) -> Seconds:
    """Times with this mean. spread: their standard deviation, as a share of the mean."""
    variance = np.log1p(spread**2)
    return chance.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), count)


def like(
    seconds: Sequence[float], mean: float | None, count: int, chance: np.random.Generator
) -> Seconds:
    """Times that are distributed as those of an earlier job.

    mean: scales them to another mean, if it is given.
    """
    found = np.asarray(seconds, np.float64)
    if mean is not None:
        found = found * (mean / found.mean())
    return chance.choice(found, count)
