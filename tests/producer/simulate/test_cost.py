from __future__ import annotations

import pytest

from producer.cost.prices import Prices
from producer.simulate.assumptions import Assumptions
from producer.simulate.cost import cost_of, requests
from producer.simulate.result import Result

ASSUMED = Assumptions(lease_seconds=60)
RESULT = Result(
    workers=10,
    places=2,
    interruptions=0.05,
    tasks=100,
    done=98,
    dead=2,
    received=120,
    interrupted=3,
    cut=4,
    makespan_seconds=3600,
    machine_seconds=36_000,
    starting_seconds=1800,
    useful_seconds=5880,
    lost_seconds=70,
    failed_seconds=50,
    tail_seconds=60,
    peak_in_flight=20,
    was_full=False,
    empty_polls=32,
)


def test_requests_are_sends_of_ten_receives_deletes_and_three_renewals_in_a_lease() -> None:
    assert requests(RESULT, ASSUMED) == 10 + 120 + 32 + 98 + 6000 / 20


def test_dollars_are_those_of_the_table() -> None:
    prices = Prices.load()
    machine = prices.machine("g5.xlarge")
    spot = cost_of(RESULT, ASSUMED, prices, machine, on_demand=False)
    on_demand = cost_of(RESULT, ASSUMED, prices, machine, on_demand=True)
    assert spot.machines == pytest.approx(10 * (machine.spot + prices.beside_machines.an_hour))
    assert on_demand.machines - spot.machines == pytest.approx(
        10 * (machine.on_demand - machine.spot)
    )
    assert spot.queue == on_demand.queue == pytest.approx(560 * prices.sqs.million / 1e6)
    assert spot.total == spot.machines + spot.queue


def test_shares_of_work_and_of_paid_time() -> None:
    assert RESULT.lost == 70 / 5880
    assert RESULT.waste == 1 - 5880 / 72_000
    assert RESULT.idle_seconds == 2 * (36_000 - 1800) - 5880 - 70 - 50
