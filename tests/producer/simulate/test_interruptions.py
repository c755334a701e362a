from __future__ import annotations

from itertools import islice
from math import exp, inf, log

import numpy as np
import pytest

from producer.cost.fleet import Work, fleet_of, interruption_factor
from producer.cost.prices import Prices
from producer.simulate.assumptions import Assumptions
from producer.simulate.interruptions import lives, rate_of
from producer.simulate.run import run

SHARE = 0.9  # of the machines, in an hour
TASK, STARTUP, NOTICE = 400.0, 180.0, 120.0


def test_the_share_of_machines_that_an_hour_takes_is_the_one_that_is_given() -> None:
    assert 1 - exp(-rate_of(0.2) * 3600) == pytest.approx(0.2)
    drawn = np.fromiter(islice(lives(0.2, np.random.default_rng(1)), 100_000), float)
    assert np.mean(drawn < 3600) == pytest.approx(0.2, abs=0.005)


def test_without_interruptions_machines_live_for_ever() -> None:
    assert list(islice(lives(0, np.random.default_rng(1)), 3)) == [inf] * 3


def machine_seconds(places: int, **changes: object) -> float:
    """Machine time for each useful second of a machine, in a long job without start and end."""
    calm = {"overhead_seconds": 0, "startup_seconds": STARTUP, "max_receives": 999}
    assumed = Assumptions.model_validate(calm | {"in_flight": places} | changes)
    result = run(assumed, 5, np.full(20_000, TASK), lives(SHARE, np.random.default_rng(1)))
    assert result.done == 20_000
    paid = result.machine_seconds - 5 * STARTUP
    return paid * places / result.useful_seconds


@pytest.mark.parametrize("places", [1, 2])
def test_kills_without_notice_cost_what_a_plan_says(places: int) -> None:
    expected = interruption_factor(TASK, STARTUP, SHARE)
    assert expected > 1.2
    found = machine_seconds(places, drain=False, notice_seconds=0)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("grace", [0.0, 100.0])
def test_a_notice_saves_the_tasks_that_end_in_time(grace: float) -> None:
    rate = log(1 / (1 - SHARE)) / 3600
    at_risk = TASK - grace  # the rest of a task is done in the grace period
    failures = exp(rate * at_risk) - 1
    lost = failures / rate - at_risk + failures * grace
    task = (TASK + lost) * (1 + rate * (STARTUP + NOTICE - idle_less(grace, rate)))
    found = machine_seconds(2, notice_seconds=NOTICE, grace_seconds=grace)
    assert found == pytest.approx(task / TASK, rel=0.02)


def idle_less(grace: float, rate: float) -> float:
    """Seconds of the notice in which places work, on average."""
    return grace - grace**2 / (2 * TASK)


@pytest.mark.parametrize(("machines", "share"), [(20, 0.0), (20, 0.2), (200, 0.2)])
def test_a_plan_and_a_simulation_agree(machines: int, share: float) -> None:
    """A plan has the seconds of a worker for a task: those in a place, divided by the places."""
    kind = Prices.load().machine("g6.xlarge").model_copy(update={"interruptions_an_hour": share})
    work = Work(tasks=20_000, seconds=120, in_flight=2, startup=STARTUP)
    planned = fleet_of(work, kind, machines, spot=True, beside=0)
    assumed = Assumptions(
        overhead_seconds=0, startup_seconds=STARTUP, drain=False, notice_seconds=0
    )
    drawn = lives(share, np.random.default_rng(1))
    found = run(assumed, machines, np.full(work.tasks, 240.0), drawn)
    assert found.machine_hours == pytest.approx(planned.machine_hours, rel=0.02)
    assert found.makespan_seconds == pytest.approx(planned.wall_seconds, rel=0.05)
