from __future__ import annotations

import pytest

from chunkflow_worker.machine.clock import ElapsedClock


class Clocks:
    steady, wall = 100.0, 1_000_000.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def elapsed(clocks: Clocks) -> ElapsedClock:
    return ElapsedClock(lambda: clocks.steady, lambda: clocks.wall)


def test_it_follows_the_steady_clock(clocks: Clocks, elapsed: ElapsedClock) -> None:
    for _ in range(10):
        clocks.steady += 0.5
        clocks.wall += 0.5001
        elapsed()
    assert elapsed() == pytest.approx(5)


def test_a_machine_that_was_frozen_has_lost_that_time(
    clocks: Clocks, elapsed: ElapsedClock
) -> None:
    clocks.wall += 600
    assert elapsed() == pytest.approx(600)
    clocks.steady += 1
    clocks.wall += 1
    assert elapsed() == pytest.approx(601), "it counts once"


def test_a_clock_that_is_set_back_changes_nothing(clocks: Clocks, elapsed: ElapsedClock) -> None:
    clocks.steady += 10
    clocks.wall -= 900
    assert elapsed() == pytest.approx(10)


def test_it_never_goes_back(clocks: Clocks, elapsed: ElapsedClock) -> None:
    clocks.steady -= 5
    clocks.wall -= 5
    assert elapsed() == 0
