"""Environment variables -> one frozen `Settings`."""

from __future__ import annotations

import os
import socket
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from chunkflow_worker.errors import ConfigError, Fault

_PREFIX = "CHUNKFLOW_"


def _region_of_profile() -> str:
    """The region in ~/.aws/config, of AWS_PROFILE where that is set; us-east-1 where there is none."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return Session().get_config_variable("region") or "us-east-1"
    except BotoCoreError:  # a profile that is not there: whoever makes a client is told
        return "us-east-1"


class Settings(BaseSettings):
    """How a worker runs. Each field is read from CHUNKFLOW_<NAME>, or from the AWS variable that it names."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    pipeline: Path | None = Field(None, description="File with the chain of operators (YAML).")
    queue: str = Field(
        "chunkflow",
        description="Name of the SQS queue to take tasks from.",
        pattern=r"^[\w-]{1,75}$",
    )
    ledger: str | None = Field(
        None, description="Where task records go; `log` below the last saved volume when not set."
    )
    in_flight: int = Field(
        2, ge=1, le=64, description="Tasks worked on at the same time; bounds memory."
    )
    lease_seconds: int | None = Field(
        None,
        ge=3,
        le=43200,
        description="A dead worker's task is visible to others after at most this; "
        "the queue's visibility timeout when not set, but from 3 to 120 seconds.",
    )
    grace_seconds: float = Field(
        1,
        ge=0,
        description="After SIGTERM, tasks may finish this long before they are given back. "
        "Raise it to what your platform allows before it kills, less 15 seconds.",
    )
    backoff_seconds: int = Field(
        10,
        ge=0,
        le=900,
        description="Delay before the second attempt; doubles with each, up to 900.",
    )
    poll_seconds: int = Field(
        5, ge=1, le=20, description="Length of one long poll; a stopping worker waits for its end."
    )
    watchdog_seconds: float = Field(
        120, gt=0, description="End the worker when its poll loop stood still this long."
    )
    task_time_limit: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a task is taken for hung: it fails, to be tried again, and the worker ends. "
        "No limit when not set.",
    )
    memory_limit: ByteSize | None = Field(
        None,
        description="Memory of the process and its children (bytes, or as 12GiB) at 95% of which the newest task fails, to be "
        "tried again; the limit of the cgroup when not set.",
    )
    spot_notice: bool = Field(
        True,
        description="On EC2, watch for the notice of a spot interruption, and drain when it comes.",
    )
    health_folder: str | None = Field(
        None,
        description="Folder of the small files that `chunkflow-worker health` reads; that for temporary files when not set.",
    )
    metrics: Literal["cloudwatch", "none"] = Field(
        "cloudwatch", description="Where timings and counts are sent."
    )
    metrics_namespace: str = Field(
        "chunkflow", min_length=1, max_length=255, description="CloudWatch namespace."
    )
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="Name in records, and in log lines when set; host and process id.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level logged."
    )
    region: str = Field(
        default_factory=_region_of_profile,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="AWS region; that of the profile, or us-east-1, when not set.",
    )
    endpoint_url: str | None = Field(
        None,
        validation_alias="AWS_ENDPOINT_URL",
        description="Endpoint for all of AWS; for local or private services.",
    )
    devices: str | None = Field(
        None,
        description="GPUs that `chunkflow-worker run` starts one worker process each for: numbers or UUIDs with commas between, "
        "or `all`; one process when not set.",
    )
    cuda_visible_devices: str | None = Field(
        None,
        validation_alias="CUDA_VISIBLE_DEVICES",
        description="GPU that inference uses; the first visible one is taken.",
    )

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read the environment. Raises ConfigError with all the faults, variables that look misspelt among them."""
        faults = _misspelt()
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            faults += [
                Fault(
                    variable_names(str(e["loc"][0]))[0],
                    f"{e['input']!r}: {e['msg']}",
                    _help(str(e["loc"][0])),
                )
                for e in error.errors()
            ]
        if faults:
            raise ConfigError("settings", faults)
        return settings


def variable_names(field: str) -> list[str]:
    """Names of the environment variables that set a field."""
    info = Settings.model_fields.get(field)
    alias = info.validation_alias if info else None
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return (
        [alias]
        if isinstance(alias, str)
        else [field if field.isupper() else _PREFIX + field.upper()]
    )


def settings_table() -> str:
    """All settings as a Markdown table."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, info in Settings.model_fields.items():
        default = "" if info.default_factory or info.default is None else f"`{info.default}`"
        rows.append(
            f"| {', '.join(f'`{v}`' for v in variable_names(name))} | {default} | {info.description} |"
        )
    rows.append(
        "| `AWS_*` | | All other standard variables (profile, keys, role, token...), as boto3 reads them. |"
    )
    return "\n".join(rows)


def _misspelt() -> list[Fault]:
    """Faults of variables that are no setting but look like one; there are others, such as those of Kubernetes' services."""
    fields = list(Settings.model_fields)
    known = {variable for field in fields for variable in variable_names(field)}
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(_PREFIX) and variable not in known:
            near = get_close_matches(variable.removeprefix(_PREFIX).lower(), fields, 1, 0.75)
            faults += [
                Fault(variable, "is no setting", f"did you mean {variable_names(field)[0]}?")
                for field in near
            ]
    return faults


def _help(field: str) -> str:
    info = Settings.model_fields.get(field)
    return (info.description or "") if info else ""
