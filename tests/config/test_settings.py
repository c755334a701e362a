"""Settings; tests/cli/test_worker_command.py has those that need a command."""

from __future__ import annotations

import os
import socket

import pytest
from pydantic import ValidationError

from chunkflow_worker.config.settings import Settings, settings_table, variable_names
from chunkflow_worker.errors import ConfigError, Fault


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the environment of the tests."""
    for name in list(os.environ):
        if name.startswith(("CHUNKFLOW_", "AWS_", "CUDA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


def the_fault(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> Fault:
    """The only fault of the settings if a variable has that value."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as refused:
        Settings.load()
    [fault] = refused.value.faults
    return fault


def test_without_variables_all_settings_have_their_defaults() -> None:
    settings = Settings.load()
    assert settings.worker_name == f"{socket.gethostname()}-{os.getpid()}"
    assert (settings.queue, settings.in_flight, settings.poll_seconds) == ("chunkflow", 2, 5)
    assert (settings.pipeline, settings.ledger, settings.lease_seconds) == (None, None, None)
    assert (settings.region, settings.endpoint_url) == ("us-east-1", None)


def test_each_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "CHUNKFLOW_MEMORY_LIMIT": "12GiB",
        "CHUNKFLOW_SPOT_NOTICE": "false",
        "CHUNKFLOW_GRACE_SECONDS": "0.5",
        "CHUNKFLOW_LOG_LEVEL": "DEBUG",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.memory_limit == 12 * 1024**3
    assert (settings.spot_notice, settings.grace_seconds) == (False, 0.5)
    assert (settings.log_level, settings.region) == ("DEBUG", "eu-west-1")
    assert settings.endpoint_url == "http://127.0.0.1:5000"
    assert settings.cuda_visible_devices == "1"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHUNKFLOW_LEASE_SECONDS", "CHUNKFLOW_QUEUE", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "")
    settings = Settings.load()
    assert (settings.lease_seconds, settings.queue) == (None, "chunkflow")
    assert (settings.region, settings.endpoint_url) == ("us-east-1", None)


def test_overrides_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKFLOW_QUEUE", "from-the-environment")
    assert Settings.load(queue="given").queue == "given"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHUNKFLOW_QUEUE", "no spaces"),
        ("CHUNKFLOW_QUEUE", "x" * 76),
        ("CHUNKFLOW_QUEUE", "jobs.fifo"),
        ("CHUNKFLOW_QUEUE", "sqs://jobs"),
        ("CHUNKFLOW_IN_FLIGHT", "65"),
        ("CHUNKFLOW_LEASE_SECONDS", "2"),
        ("CHUNKFLOW_LEASE_SECONDS", "43201"),
        ("CHUNKFLOW_BACKOFF_SECONDS", "901"),
        ("CHUNKFLOW_POLL_SECONDS", "0"),
        ("CHUNKFLOW_WATCHDOG_SECONDS", "0"),
        ("CHUNKFLOW_TASK_TIME_LIMIT", "-1"),
        ("CHUNKFLOW_MEMORY_LIMIT", "lots"),
    ],
)
def test_a_wrong_value_is_reported_with_its_variable_and_its_meaning(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = the_fault(variable, value, monkeypatch)
    assert fault.place == variable
    assert fault.problem.startswith(f"'{value}': ")
    field = variable.removeprefix("CHUNKFLOW_").lower()
    if variable != "CHUNKFLOW_QUEUE":  # its faults have cures of their own
        assert fault.cure == Settings.model_fields[field].description


@pytest.mark.parametrize(
    ("variable", "value", "legal"),
    [
        ("CHUNKFLOW_METRICS", "statsd", "legal: 'cloudwatch' or 'none'"),
        ("CHUNKFLOW_LOG_LEVEL", "debug", "legal: 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_value_that_is_none_of_a_list_is_reported_with_the_list(
    variable: str, value: str, legal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = the_fault(variable, value, monkeypatch)
    assert (fault.place, fault.cure) == (variable, legal)


@pytest.mark.parametrize(
    ("variable", "value", "cure"),
    [
        ("CHUNKFLOW_LEDGER", "s3:/lab/log", "did you mean s3://lab/log?"),
        ("CHUNKFLOW_LEDGER", "$OUT/log", "write ${env:OUT}"),
        ("CHUNKFLOW_LEDGER", "https://host/log", "write to a bucket"),
        ("CHUNKFLOW_PIPELINE", "s3:/lab/p.yaml", "./s3:/lab/p.yaml is a path on this machine"),
        ("CHUNKFLOW_HEALTH_FOLDER", "${HOME}/health", "write ${env:HOME}"),
        ("CHUNKFLOW_QUEUE", "jobs.fifo", "use a standard queue"),
    ],
)
def test_places_are_checked(
    variable: str, value: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = the_fault(variable, value, monkeypatch)
    assert fault.place == variable
    assert cure in fault.cure


def test_a_ledger_may_hold_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", "s3://lab")
    monkeypatch.setenv("CHUNKFLOW_LEDGER", "${env:OUT}/log")
    assert Settings.load().ledger == "s3://lab/log"


def test_what_is_wrong_is_said_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKFLOW_IN_FLIGHT", "65")
    monkeypatch.setenv("CHUNKFLOW_POLL_SECONDS", "often")
    monkeypatch.setenv("CHUNKFLOW_SPOT_NOTICE", "maybe")
    with pytest.raises(ConfigError) as refused:
        Settings.load()
    assert [fault.problem for fault in refused.value.faults] == [
        "'65': must be at most 64",
        "'often': takes a whole number",
        "'maybe': takes true or false",
    ]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().queue = "other"  # type: ignore[misc]


def test_a_field_has_the_variables_of_its_alias_or_one_of_our_own() -> None:
    assert variable_names("in_flight") == ["CHUNKFLOW_IN_FLIGHT"]
    assert variable_names("region") == ["AWS_REGION", "AWS_DEFAULT_REGION"]
    assert variable_names("endpoint_url") == ["AWS_ENDPOINT_URL"]
    assert variable_names("AWS_REGION") == ["AWS_REGION"], "as errors of pydantic name a field"


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = settings_table().splitlines()
    assert len(rows) == 2 + len(Settings.model_fields) + 1
    assert any(row.startswith("| `CHUNKFLOW_QUEUE` | `chunkflow` | Name of the") for row in rows)
    [worker_name] = [row for row in rows if "CHUNKFLOW_WORKER_NAME" in row]
    assert socket.gethostname() not in worker_name, "defaults of this machine are no defaults"
    assert all(row.count(" | ") == 2 or row.count("|") == 4 for row in rows)
