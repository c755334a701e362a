"""`Prices`: what machines and services of AWS cost, from a file that users can edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError, Fault

DEFAULT_FILE = Path(__file__).with_name("prices.yaml")
HOURS_A_MONTH = 730
_CURE = "compare it with the table that comes with the package, producer/cost/prices.yaml"

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""


class Machine(_Row):
    """A kind of machine; dollars are per hour.

    memory_gib, gpu_memory_gib: in GiB. gpu: its name, empty if there is none.
    interruptions_an_hour: share of the running spot machines that AWS takes back in an hour.
    speed: tasks that it does while the machine of the measurement does one.
    """

    name: str
    vcpu: int = Field(gt=0)
    memory_gib: float = Field(gt=0)
    gpu: str = ""
    gpu_memory_gib: float = Field(0, ge=0)
    on_demand: Dollars
    spot: Dollars
    interruptions_an_hour: float = Field(ge=0, lt=1)
    speed: float = Field(1.0, gt=0)

    @property
    def memory_bytes(self) -> float:
        return self.memory_gib * 2**30


class BesideMachines(_Row):
    """What each machine costs beside itself: an address per hour, a disk per GiB and month."""

    public_ipv4_hour: Dollars
    disk_gib_month: Dollars
    disk_gib: float = Field(ge=0)

    @property
    def an_hour(self) -> float:
        """Dollars per hour of a machine."""
        return self.public_ipv4_hour + self.disk_gib * self.disk_gib_month / HOURS_A_MONTH


class S3(_Row):
    """put_1000: also of LIST; get_1000: also of HEAD."""

    put_1000: Dollars
    get_1000: Dollars
    storage_gb_month: Dollars


class Sqs(_Row):
    """million: of requests."""

    million: Dollars


class CloudWatch(_Row):
    """put_1000: of PutMetricData; metric_month: of one custom metric."""

    put_1000: Dollars
    metric_month: Dollars


class Transfer(_Row):
    """same_region_gb: between a machine and a service; nat_*: through a NAT gateway."""

    same_region_gb: Dollars
    nat_hour: Dollars
    nat_gb: Dollars


class Prices(BaseModel):
    """The price table, in US dollars.

    date: on which the prices were written down, as YYYY-MM-DD.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    source: str
    machines: tuple[Machine, ...] = Field(min_length=1)
    beside_machines: BesideMachines
    s3: S3
    sqs: Sqs
    cloudwatch: CloudWatch
    transfer: Transfer

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read a table; by default, the one that comes with the package. Raises ConfigError."""
        path = path or DEFAULT_FILE
        content = read_yaml(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(str(path), _faults(error)) from None

    def an_hour(self, machine: Machine, *, spot: bool) -> float:
        """Dollars per hour of a machine, with what it has beside itself."""
        return (machine.spot if spot else machine.on_demand) + self.beside_machines.an_hour

    def machine(self, name: str) -> Machine:
        """A kind of machine by its name. Raises ConfigError."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        problem = f"has no machine {name!r}; it has {known}"
        cure = "add it to a copy of the table, and give that to --prices"
        raise ConfigError.one("prices", name, problem, cure)


def _faults(error: ValidationError) -> list[Fault]:
    """What pydantic found, with the place in the file, as `machines.2.spot`."""
    return [
        Fault(".".join(map(str, details["loc"])) or "file", details["msg"].lower(), _CURE)
        for details in error.errors()
    ]
