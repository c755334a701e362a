from __future__ import annotations

import numpy as np
import pytest

from producer.simulate.durations import like, log_normal


@pytest.mark.parametrize("spread", [0.0, 0.2, 1.5])
def test_given_times_have_the_mean_and_the_spread(spread: float) -> None:
    drawn = log_normal(60, spread, 400_000, np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(60, rel=0.01)
    assert drawn.std() == pytest.approx(60 * spread, rel=0.03, abs=1e-9)
    assert drawn.min() > 0


def test_times_of_an_earlier_job_are_drawn_from_it() -> None:
    drawn = like([1.0, 2.0, 6.0], None, 30_000, np.random.default_rng(1))
    assert set(drawn) == {1.0, 2.0, 6.0}
    assert drawn.mean() == pytest.approx(3, rel=0.02)


def test_times_of_an_earlier_job_are_scaled_to_a_mean() -> None:
    drawn = like([1.0, 2.0, 6.0], 30, 100, np.random.default_rng(1))
    assert set(drawn) == {10.0, 20.0, 60.0}
