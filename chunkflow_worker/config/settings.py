"""`Settings`: how a worker runs, from environment variables."""

from __future__ import annotations

import os
import socket
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, ByteSize, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chunkflow_worker.config.cache_size import DEFAULT as BLOCK_CACHE
from chunkflow_worker.config.facts import PRECOMPUTED, Place
from chunkflow_worker.config.largest_block import DEFAULT as LARGEST_BLOCK
from chunkflow_worker.config.options import fault_list
from chunkflow_worker.config.places import check_local, checked
from chunkflow_worker.config.queue_name import check_queue_name
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import ConfigError, Fault

_PREFIX = "CHUNKFLOW_"
_OF_KUBERNETES = ("_SERVICE_HOST", "_SERVICE_PORT")  # of variables that it sets for services


def _region_of_profile() -> str:
    """The region in ~/.aws/config, of AWS_PROFILE when it is set; us-east-1 when there is none."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return Session().get_config_variable("region") or "us-east-1"
    except BotoCoreError:  # an unknown profile: creating a client reports it
        return "us-east-1"


class Settings(BaseSettings):
    """How a worker runs.

    Each field is read from CHUNKFLOW_<NAME>, or from the variable that its alias names.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    pipeline: Path | None = Field(None, description="YAML file with the chain of operators.")
    queue: str = Field(
        "chunkflow",
        description="Name of the SQS queue to take tasks from; its URL or ARN will do.",
    )
    ledger: str | None = Field(
        None,
        description="Path for the records of tasks; "
        "`log` below the last saved volume when not set.",
    )
    stages: str | None = Field(
        None,
        description="Stages of the pipeline file that this worker takes, separated by commas; all "
        "of them when not set. They must lie in one queue, which the stage's `queue` names.",
    )
    shared_disk: bool = Field(
        False,
        description="Allow relative paths to write to: all workers run in one folder of one disk.",
    )
    in_flight: int = Field(
        2,
        ge=1,
        le=64,
        description="Number of tasks in flight: in progress at the same time. Each needs memory.",
    )
    lease_seconds: int | None = Field(
        None,
        ge=3,
        le=43200,
        description="The task of a dead worker becomes visible to others after at most this time. "
        "When not set, the queue's visibility timeout, but at least 3 and at most 120 seconds.",
    )
    grace_seconds: float = Field(
        1,
        ge=0,
        description="After SIGTERM, tasks have this long to finish before they are given back. "
        "Set it to the time that your platform allows before it kills a process, minus 15 seconds.",
    )
    backoff_seconds: int = Field(
        10,
        ge=0,
        le=900,
        description="Seconds before the second attempt; doubles with each attempt, up to 900.",
    )
    breaker_failures: int = Field(
        20,
        ge=0,
        le=1000,
        description="A job is paused when so many of its boxes fail for one cause; 0 never does.",
    )
    breaker_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="It is paused only if this share of the worker's latest attempts of the job "
        "failed for that cause.",
    )
    control_seconds: float = Field(
        10,
        ge=0.1,
        le=300,
        description="Seconds between two looks at the state of a job: running, paused, cancelled.",
    )
    poll_seconds: int = Field(
        5,
        ge=1,
        le=20,
        description="Seconds that one long poll waits; a worker that stops waits until it ends.",
    )
    watchdog_seconds: float = Field(
        120,
        gt=0,
        description="The worker exits when its poll loop makes no progress for this long.",
    )
    task_time_limit: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a task counts as hung: it fails and is retried, "
        "and the worker exits. No limit when not set.",
    )
    memory_limit: ByteSize | None = Field(
        None,
        description="Memory limit of the process and its children, in bytes or for example 12GiB. "
        "At 95% of it, the newest task fails and is retried. When not set, the cgroup's limit.",
    )
    largest_block: ByteSize = Field(
        ByteSize(LARGEST_BLOCK),
        description="What a block, page or picture of a file may have at most when it is unpacked, "
        "in bytes or for example 2GiB. Larger ones are refused before they take memory.",
    )
    block_cache: ByteSize = Field(
        ByteSize(BLOCK_CACHE),
        description="Memory for blocks of input volumes that were read and decoded, which "
        "neighbouring boxes share; in bytes or for example 1GiB, 0 for none. A block that changes "
        "while it is kept is read as it was.",
    )
    spot_notice: bool = Field(
        True,
        description="On EC2 and Google Compute Engine, watch for the notice that the machine "
        "will be interrupted, and drain when it arrives.",
    )
    health_folder: str | None = Field(
        None,
        description="Folder for the small files that `chunkflow-worker health` reads; when not "
        "set, a folder of the user's own in the system's folder for temporary files.",
    )
    heartbeat_seconds: float = Field(
        15,
        ge=0,
        le=3600,
        description="Seconds between two heartbeats: small objects in the ledger that tell what "
        "this worker is doing. 0 for none; else at least 1.",
    )
    metrics: Literal["cloudwatch", "none"] = Field(
        "cloudwatch", description="Where to send timings and counts."
    )
    metrics_namespace: str = Field(
        "chunkflow", min_length=1, max_length=255, description="CloudWatch namespace."
    )
    metrics_by_job: bool = Field(
        True,
        description="Name the job in the dimension `job` of metrics. CloudWatch charges for some "
        "ten metrics of each job in each hour in which it runs. If false, the dimension is `all`, "
        "and all jobs share these metrics.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on which this worker answers Prometheus at /metrics; 0 for none. Needs "
        "the extra `prometheus`. With `devices`, the second worker takes the next port, and so on.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address of this machine on which it answers; 0.0.0.0 for all of them, as in "
        "the images.",
    )
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="Name of the worker in records, and in log lines when it is set; "
        "host and process id when not set.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level to log."
    )
    region: str = Field(
        default_factory=_region_of_profile,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="AWS region; when not set, the region of the profile, or us-east-1.",
    )
    endpoint_url: str | None = Field(
        None,
        validation_alias="AWS_ENDPOINT_URL",
        description="Endpoint for all AWS services, for example of a local AWS.",
    )
    devices: str | None = Field(
        None,
        description="GPUs for which `chunkflow-worker run` starts one worker process each: "
        "numbers or UUIDs separated by commas, or `all`. A single process when not set.",
    )
    cuda_visible_devices: str | None = Field(
        None,
        validation_alias="CUDA_VISIBLE_DEVICES",
        description="GPUs that inference can see; it uses the first one.",
    )

    _queue = field_validator("queue")(check_queue_name)

    @field_validator("heartbeat_seconds")
    @classmethod
    def _is_rare(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("must be 0, for no heartbeats, or at least 1")
        return value

    @field_validator("ledger")
    @classmethod
    def _is_path(cls, value: str | None) -> str | None:
        place = Place("ledger", True, False, (PRECOMPUTED,))
        return value and checked(place, with_variables(value))

    @field_validator("pipeline", "health_folder", mode="before")
    @classmethod
    def _is_local(cls, value: Any) -> Any:
        return check_local(value) if isinstance(value, str) else value

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read the environment; `overrides` take precedence.

        Raises ConfigError, which lists every wrong value and every variable that looks misspelt.
        """
        faults = _misspelt_variables()
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            faults += fault_list(error, cls, lambda field: variable_names(field)[0])
        if faults:
            raise ConfigError("settings", faults)
        return settings


def variable_names(field: str) -> list[str]:
    """Names of the environment variables that set a field, or the name of a variable itself."""
    info = Settings.model_fields.get(field)
    alias = info.validation_alias if info else None
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    if isinstance(alias, str):
        return [alias]
    return [field if field.isupper() else _PREFIX + field.upper()]


def settings_table() -> str:
    """All settings as a Markdown table."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, info in Settings.model_fields.items():
        variables = ", ".join(f"`{variable}`" for variable in variable_names(name))
        default = "" if info.default_factory or info.default is None else f"`{info.default}`"
        rows.append(f"| {variables} | {default} | {info.description} |")
    others = "All other standard variables (profile, keys, role, token...), as boto3 reads them."
    rows.append(f"| `AWS_*` | | {others} |")
    return "\n".join(rows)


def _misspelt_variables() -> list[Fault]:
    """A fault for each variable that is not a setting but resembles one.

    Others with our prefix are legal: Kubernetes, for example, sets variables for its services.
    """
    fields = list(Settings.model_fields)
    known = {variable for field in fields for variable in variable_names(field)}
    faults: list[Fault] = []
    for variable in sorted(os.environ):
        if not variable.startswith(_PREFIX) or variable in known:
            continue
        if variable.endswith(_OF_KUBERNETES):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        for field in get_close_matches(name, fields, n=1, cutoff=0.75):
            cure = f"did you mean {variable_names(field)[0]}?"
            faults.append(Fault(variable, "is not a setting", cure))
    return faults
