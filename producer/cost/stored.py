"""`StoredPlan`: the forecast of a job as it lies in the ledger, for what is compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger
    from producer.cost.forecast import Forecast

_LARGEST = 4 << 20  # bytes
_HOUR = 3600.0


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Fleet(_Part):
    machine: str
    market: str
    machine_hours: float = Field(ge=0)
    dollars: float = Field(ge=0)


class _Option(_Part):
    fleets: tuple[_Fleet, ...] = ()


class _Times(_Part):
    seconds: float = Field(gt=0)


class _Counts(_Part):
    to_do: int = Field(gt=0)


class StoredPlan(_Part):
    """The parts of a stored forecast that are compared; see `Forecast`.

    in_flight: tasks of a worker.
    """

    boxes: _Counts
    times: _Times | None = None
    options: tuple[_Option, ...] = ()
    in_flight: int = Field(1, gt=0)

    @property
    def _fleet(self) -> _Fleet | None:
        """The first kind of machine, in the smallest number, as a rule on demand."""
        return next((fleet for option in self.options for fleet in option.fleets), None)

    @property
    def seconds(self) -> float | None:
        """Of a worker for a task."""
        return self.times.seconds if self.times else None

    @property
    def machine(self) -> str:
        """The kind of machine and its market; empty without one."""
        return f"{self._fleet.machine} {self._fleet.market}" if self._fleet else ""

    @property
    def hours(self) -> float | None:
        """Of machines."""
        if self._fleet:
            return self._fleet.machine_hours
        return self.seconds * self.boxes.to_do / _HOUR if self.seconds else None

    @property
    def dollars(self) -> float | None:
        """Of machines."""
        return self._fleet.dollars if self._fleet else None


def write_plan(ledger: Ledger, forecast: Forecast, in_flight: int) -> str:
    """Keep a forecast beside the records of its job; returns its path.

    Raises StorageUnavailable, and ConfigError where the ledger is read only.
    """
    name = _name(forecast.job)
    ledger.files.put_json(name, forecast.as_json() | {"in_flight": in_flight})
    return f"{ledger.path}/{name}"


def read_plan(ledger: Ledger, job: str) -> StoredPlan | None:
    """The plan of a job; None without one, and for what is none. Raises StorageUnavailable."""
    try:
        return StoredPlan.model_validate(ledger.files.get_json(_name(job), _LARGEST))
    except ValidationError:
        return None


def _name(job: str) -> str:
    return f"plans/{job}.json"
