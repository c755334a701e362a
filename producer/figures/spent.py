"""`Spent`: what a job has taken so far, and what it will take, beside what its plan said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producer.cost.stored import StoredPlan

_HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What was planned and what is; None for what is not known.

    seconds: of a worker for a task. hours: of machines that work, with one worker each; their start
        is in the planned ones alone. dollars: for these hours, at the planned price.
    forecast: of the whole job, at the present seconds for a task.
    machine: the kind and market that the plan is about.
    """

    planned_seconds: float | None
    seconds: float | None
    planned_hours: float | None
    hours: float | None
    forecast_hours: float | None
    planned_dollars: float | None
    dollars: float | None
    forecast_dollars: float | None
    machine: str


def spent_of(plan: StoredPlan, seconds: float | None, done: int, total: int) -> Spent:
    """Spent and forecast by the seconds that a worker takes for a task.

    seconds: as records say; None if they say nothing. done, total: boxes of the job.
    """
    price = plan.dollars / plan.hours if plan.dollars is not None and plan.hours else None
    so_far, whole = (
        None if seconds is None else seconds * count / _HOUR for count in (done, total)
    )
    return Spent(
        plan.seconds,
        seconds,
        plan.hours,
        so_far,
        whole,
        plan.dollars,
        _product(so_far, price),
        _product(whole, price),
        plan.machine,
    )


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b
