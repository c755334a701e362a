"""Machine-hours and dollars, and the model of interruptions beside runs on paper."""

from __future__ import annotations

from math import log1p
from random import Random

import pytest

from producer.cost.fleet import Work, fleet_of, interruption_factor
from producer.cost.prices import Machine

MACHINE = Machine(
    name="m", vcpu=1, memory_gib=1, on_demand=1.0, spot=0.4, interruptions_an_hour=0.2
)


def test_without_interruptions_there_is_no_waste() -> None:
    work = Work(tasks=1000, seconds=36, in_flight=2, startup=0)
    fleet = fleet_of(work, MACHINE, 10, spot=False, beside=0.5)
    assert fleet.wall_seconds == pytest.approx(3600)
    assert fleet.machine_hours == pytest.approx(10 + 9 * 36 / 3600)
    assert fleet.dollars == pytest.approx(fleet.machine_hours * 1.5)
    assert (fleet.interruptions, fleet.interruption_dollars) == (0, 0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("minutes", [1, 30])
def test_the_factor_is_that_of_runs_with_random_interruptions(share: float, minutes: int) -> None:
    lasts, restart, random = 60.0 * minutes, 180.0, Random(1)
    rate, total, tasks = -log1p(-share) / 3600, 0.0, 40_000
    for _ in range(tasks):
        while (until := random.expovariate(rate)) < lasts:
            total += until + restart
        total += lasts
    found = interruption_factor(lasts, restart, share)
    assert found == pytest.approx(total / tasks / lasts, rel=0.03)
    assert found > 1


def test_spot_costs_its_price_and_its_waste() -> None:
    work = Work(tasks=1000, seconds=600, in_flight=2, startup=180)
    spot = fleet_of(work, MACHINE, 10, spot=True, beside=0.0)
    safe = fleet_of(work, MACHINE, 10, spot=False, beside=0.0)
    factor = interruption_factor(1200, 180, 0.2)
    assert spot.interruption_factor == factor > 1.04
    assert spot.wall_seconds - 180 == pytest.approx((safe.wall_seconds - 180) * factor)
    waste = work.tasks * 600 * (factor - 1) / 3600
    assert spot.machine_hours == pytest.approx(safe.machine_hours + waste)
    assert spot.interruption_dollars == pytest.approx(waste * 0.4)


def test_no_more_machines_than_tasks_are_paid() -> None:
    work = Work(tasks=3, seconds=10, in_flight=1, startup=0)
    fleet = fleet_of(work, MACHINE, 1000, spot=False, beside=0.0)
    assert fleet.machines == 3
    assert fleet.wall_seconds == 10


def test_a_machine_that_is_twice_as_fast_needs_half_the_time() -> None:
    work = Work(tasks=100, seconds=10, in_flight=1, startup=0)
    fast = MACHINE.model_copy(update={"speed": 2.0})
    slow = fleet_of(work, MACHINE, 1, spot=False, beside=0.0)
    assert fleet_of(work, fast, 1, spot=False, beside=0.0).wall_seconds == slow.wall_seconds / 2
