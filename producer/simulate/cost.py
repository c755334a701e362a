"""What a run would have cost: its machines, and its requests to SQS."""

from __future__ import annotations

from dataclasses import dataclass

from producer.cost.prices import Machine, Prices
from producer.send.batches import BATCH_ENTRIES
from producer.simulate.assumptions import Assumptions
from producer.simulate.fleet import RENEWALS
from producer.simulate.result import Result


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
    machines = result.machine_hours * prices.an_hour(machine, spot=not on_demand)
    return Cost(machines, requests(result, assumed) * prices.sqs.million / 1e6)


def requests(result: Result, assumed: Assumptions) -> float:
    """Requests to SQS: at most, since a task has no renewal in its last part of a lease."""
    sent = result.tasks / BATCH_ENTRIES
    worked = result.useful_seconds + result.failed_seconds + result.lost_seconds
    renewed = worked / (assumed.lease_seconds / RENEWALS)
    return sent + result.received + result.empty_polls + result.done + renewed
