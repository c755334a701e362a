"""A leak fails a soak; noise, a warm-up and a single step do not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.soak.samples import Life
from tests.soak.verdict import LEAST_SAMPLES, LIMITS, WARM_UP_SECONDS, growths

EVERY, SECONDS = 2.0, 600.0
TIMES = np.arange(0, WARM_UP_SECONDS + SECONDS + EVERY, EVERY)
AFTER = np.maximum(0, TIMES - WARM_UP_SECONDS) / SECONDS
"""0 to 1, from the end of the warm-up to the end."""

NOISE = {"memory": 3e6, "handles": 1.5, "threads": 0.7}


def life(what: str, growth: float, noise: float = 0.0, seed: int = 1) -> Life:
    """A process of which one thing grows evenly, and whose others are as they were."""
    chance = np.random.default_rng(seed)
    flat = [20.0] * len(TIMES)
    figures = {"memory": flat, "handles": flat, "threads": flat}
    figures[what] = list(200 + growth * AFTER + chance.normal(0, noise, len(TIMES)))
    return Life("worker-0", list(TIMES), cpu=flat, **figures)


def leaks(life: Life) -> list[str]:
    return [growth.what for growth in growths(life) if growth.is_leak]


@pytest.mark.parametrize("what", LIMITS)
@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_found_in_noise(what: str, seed: int) -> None:
    assert leaks(life(what, 1.5 * LIMITS[what], NOISE[what], seed)) == [what]


@pytest.mark.parametrize("what", LIMITS)
@pytest.mark.parametrize("seed", range(5))
def test_noise_and_what_is_allowed_are_no_leak(what: str, seed: int) -> None:
    assert leaks(life(what, 0, 2 * NOISE[what], seed)) == []
    assert leaks(life(what, 0.8 * LIMITS[what], NOISE[what], seed)) == []


def test_the_warm_up_does_not_count() -> None:
    found = life("memory", 0)
    found.memory = [min(1.0, t / WARM_UP_SECONDS) * 3e8 for t in TIMES]
    assert leaks(found) == []


def test_one_step_is_no_leak_and_many_are() -> None:
    found = life("memory", 0)
    found.memory = list(2e8 + 3e7 * (AFTER > 0.9))
    assert leaks(found) == []
    found.memory = list(2e8 + 1e7 * np.floor(AFTER * 5))
    assert leaks(found) == ["memory"]


def test_a_short_life_says_nothing() -> None:
    found = life("memory", 1e9)
    count = int(WARM_UP_SECONDS / EVERY) + LEAST_SAMPLES - 1
    found.times, found.memory = found.times[:count], found.memory[:count]
    assert list(growths(found)) == []


def test_a_leak_is_told_with_its_limit() -> None:
    (growth,) = [each for each in growths(life("memory", 2e7)) if each.is_leak]
    assert str(growth) == "memory of worker-0 grew by 20.0 MB, over the limit of 10 MB"
