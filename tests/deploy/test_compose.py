"""docker-compose.yml and .env.example agree with the settings, the Dockerfile and the demo."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.config.settings import Settings, variable_names
from chunkflow_worker.pipeline.chain import Pipeline
from producer.plan.pipeline_file import PipelineFile
from tests.support.paths import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
WORKERS = ("worker", "worker-gpu")
KNOWN = {name for field in Settings.model_fields for name in variable_names(field)}
OTHERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OMP_NUM_THREADS"}
OTHERS |= {"CHUNKFLOW_NOTIFY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"}
OTHERS |= {"OTEL_RESOURCE_ATTRIBUTES"}
"""Variables that boto3, torch, OpenTelemetry and commands of the producer read."""

NOT_PASSED = {"CHUNKFLOW_HEALTH_FOLDER", "CHUNKFLOW_WORKER_NAME", "CUDA_VISIBLE_DEVICES"}
"""Settings that a container does not need.

It has its own /tmp and a unique name, and the profile gpu sets CHUNKFLOW_DEVICES.
"""


def filled(value: Any, environment: dict[str, str] | None = None) -> Any:
    """Return a value as compose reads it, with ${NAME:-default} and ${NAME-default} replaced."""

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        value = (environment or {}).get(name)
        return default if value is None or (kind == ":-" and not value) else value

    return re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", fill, value) if isinstance(value, str) else value


def environment(service: str, dotenv: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a service, if .env contains `dotenv`."""
    found = {}
    for name, value in SERVICES[service].get("environment", {}).items():
        if value is not None:
            found[name] = str(filled(value, dotenv))
        elif name in (dotenv or {}):
            found[name] = (dotenv or {})[name]
    return found


def passed(service: str) -> set[str]:
    return set(SERVICES[service].get("environment", {}))


def named(text: str) -> set[str]:
    """Return the variables that a file like .env sets, also in comments."""
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def settings_of(
    monkeypatch: pytest.MonkeyPatch, service: str, dotenv: dict[str, str] | None = None
) -> Settings:
    """Return the settings of a service, if .env contains `dotenv`."""
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(service, dotenv).items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_compose_passes_no_variable_that_no_setting_reads() -> None:
    every = {name for service in SERVICES for name in passed(service)}
    assert every - KNOWN - OTHERS == set()


def test_workers_get_every_setting() -> None:
    assert KNOWN - NOT_PASSED - passed("worker-gpu") == set()
    assert KNOWN - NOT_PASSED - passed("worker") == {"CHUNKFLOW_DEVICES"}


def test_the_example_has_exactly_the_variables_that_compose_reads() -> None:
    read = set(re.findall(r"\$\{(\w+)", TEXT))
    passed_on = {
        name
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert named((ROOT / ".env.example").read_text()) == read | passed_on


def test_the_example_contains_the_defaults() -> None:
    example = (ROOT / ".env.example").read_text()
    values = dict(re.findall(r"^#([A-Z]\w*)=(.+)$", example, re.MULTILINE))
    compose = {name: default for name, _, default in re.findall(r"\$\{(\w+)(:?-)([^}]*)\}", TEXT)}
    code = {
        name: str(info.default)
        for field, info in Settings.model_fields.items()
        for name in variable_names(field)
    }
    assert values.pop("LOCAL_AWS") == "0", "the only line that is no default: it selects real AWS"
    assert len(values) > 10
    for name, value in values.items():
        assert value.lower() == (compose.get(name) or code[name]).lower(), name


def test_the_test_settings_exist() -> None:
    used = named((ROOT / "tests/deploy/e2e.env").read_text())
    assert used
    assert used <= named((ROOT / ".env.example").read_text())


@pytest.mark.parametrize("service", WORKERS)
def test_defaults_are_valid_and_the_stop_waits_for_the_grace(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    settings = settings_of(monkeypatch, service)
    assert settings.endpoint_url == "http://aws:5000"
    assert filled(SERVICES[service]["stop_grace_period"]) == f"{settings.grace_seconds + 15:.0f}s"


def test_the_same_file_works_with_real_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    dotenv = {"LOCAL_AWS": "0", "AWS_REGION": "eu-west-1"} | dict.fromkeys(empty, "")
    settings = settings_of(monkeypatch, "worker", dotenv)
    assert (settings.endpoint_url, settings.region) == (None, "eu-west-1")
    assert environment("worker", dotenv)["AWS_ACCESS_KEY_ID"] == "", "the machine's role is used"
    local = {
        name for name, service in SERVICES.items() if filled(service.get("scale"), dotenv) == "0"
    }
    assert local == {"aws", "queue", "sample"}
    awaited = {
        name for service in set(SERVICES) - local for name in SERVICES[service]["depends_on"]
    }
    assert awaited <= local, "no service waits for one that is not started"


def test_services_start_in_order() -> None:
    ready, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert SERVICES["queue"]["depends_on"] == SERVICES["sample"]["depends_on"] == {"aws": ready}
    for service in (*WORKERS, "producer", "page"):
        assert SERVICES[service]["depends_on"] == {"queue": done, "sample": done}
    started = [name for name, service in SERVICES.items() if "profiles" not in service]
    assert started == ["aws", "queue", "sample", "worker"]


@pytest.mark.parametrize("service", SERVICES)
def test_containers_have_no_privileges(service: str) -> None:
    options = SERVICES[service]
    assert options["read_only"] is True
    assert options["tmpfs"] == ["/tmp"]
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in options.get("volumes", []))
    assert not {"privileged", "user", "network_mode", "pid", "ipc"} & set(options)
    assert service == "page" or "ports" not in options


def test_only_this_machine_reaches_the_page_and_it_can_only_be_read() -> None:
    page = SERVICES["page"]
    assert [filled(port) for port in page["ports"]] == ["127.0.0.1:8760:8760"]
    assert page["command"] == ["page", "--host", "0.0.0.0"]
    assert page["profiles"] == ["page"]


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_built_here_and_have_the_version(service: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = filled(SERVICES[service]["image"])
    target = {
        f"chunkflow-worker:{version}-cpu": "worker-cpu",
        f"chunkflow-worker:{version}-gpu": "worker-gpu",
    }.get(image, image.removeprefix("chunkflow-").removesuffix(f":{version}"))
    assert f" AS {target}\n" in (ROOT / "Dockerfile").read_text()
    builds = [
        s["build"]["target"]
        for s in SERVICES.values()
        if "build" in s and filled(s["image"]) == image
    ]
    assert builds == [target], "exactly one service builds it"


def test_the_profile_gpu_reserves_gpus_for_all_of_its_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = SERVICES["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    (devices,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert settings_of(monkeypatch, "worker-gpu").devices == "all"


def test_the_sample_job_is_complete() -> None:
    path = ROOT / "deploy/demo/pipeline.yaml"
    assert filled(SERVICES["worker"]["volumes"][0]) == "./deploy/demo:/job:ro"
    assert environment("worker")["CHUNKFLOW_PIPELINE"] == "/job/pipeline.yaml"
    load, inference, save = Pipeline.load(path).operators
    for file in (inference.convnet_model, inference.convnet_weight_path):  # type: ignore[attr-defined]
        assert (path.parent / Path(file).relative_to("/job")).is_file()
    file = PipelineFile.load(path)
    assert file.tasks["volume_path"] == load.volume_path  # type: ignore[attr-defined]
    assert file.ledger_path == f"{save.volume_path}/log"  # type: ignore[attr-defined]


def test_the_loopback_of_the_tests_covers_all_services_but_gpus() -> None:
    override = yaml.safe_load((ROOT / "tests/deploy/compose.loopback.yml").read_text())["services"]
    assert set(override) == set(SERVICES) - {"worker-gpu"}
    assert override.pop("aws")["network_mode"] == "none"
    assert all(service == {"network_mode": "service:aws"} for service in override.values())
