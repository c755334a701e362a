"""What a run would have cost: its machines, and its requests to SQS."""

from __future__ import annotations

from dataclasses import dataclass

from producer.cost.prices import Machine, Prices
from producer.simulate.assumptions import Assumptions
from producer.simulate.fleet import RENEWALS
from producer.simulate.result import Result

_SENT_AT_ONCE = 10  # messages, which are one request


@dataclass(frozen=True)
class Cost:
    """In dollars. machines: with their disks and addresses. queue: requests to SQS."""

    machines: float
    queue: float

    @property
    def total(self) -> float:
        return self.machines + self.queue


def cost_of(
    result: Result, assumed: Assumptions, prices: Prices, machine: Machine, *, on_demand: bool
) -> Cost:
    """Storage and metrics are not simulated, so they are not counted."""
    hour = machine.on_demand if on_demand else machine.spot
    machines = result.machine_hours * (hour + prices.beside_machines.an_hour)
    return Cost(machines, requests(result, assumed) * prices.sqs.million / 1e6)


def requests(result: Result, assumed: Assumptions) -> float:
    """Requests to SQS: at most, since a task has no renewal in its last part of a lease."""
    sent = result.tasks / _SENT_AT_ONCE
    worked = result.useful_seconds + result.failed_seconds + result.lost_seconds
    renewed = worked / (assumed.lease_seconds / RENEWALS)
    return sent + result.received + result.empty_polls + result.done + renewed
