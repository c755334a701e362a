"""docker-compose.yml and .env.example fit the settings of the code, the Dockerfile and the demo."""

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
"""Variables that containers get and that are not ours: boto3 and torch read them."""

NOT_PASSED = {"CHUNKFLOW_HEALTH_FOLDER", "CHUNKFLOW_WORKER_NAME", "CUDA_VISIBLE_DEVICES"}
"""Settings that have no use in a container: /tmp is its own, its name is unique, and the profile gpu has CHUNKFLOW_DEVICES."""


def filled(value: Any, environment: dict[str, str] | None = None) -> Any:
    """A value as compose reads it: ${NAME:-default} and ${NAME-default} replaced."""

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        value = (environment or {}).get(name)
        return default if value is None or (kind == ":-" and not value) else value

    return re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", fill, value) if isinstance(value, str) else value


def environment(service: str, told: dict[str, str] | None = None) -> dict[str, str]:
    """What a container of a service gets when .env says `told`."""
    given = SERVICES[service].get("environment", {})
    found = {
        k: (told or {}).get(k) if v is None else str(filled(v, told)) for k, v in given.items()
    }
    return {k: v for k, v in found.items() if v is not None}


def passed(service: str) -> set[str]:
    return set(SERVICES[service].get("environment", {}))


def named(text: str) -> set[str]:
    """Variables that a file in the form of .env names, also behind a #."""
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def settings_of(
    monkeypatch: pytest.MonkeyPatch, service: str, told: dict[str, str] | None = None
) -> Settings:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(service, told).items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_compose_passes_no_variable_that_no_setting_reads() -> None:
    every = {name for service in SERVICES for name in passed(service)}
    assert every - KNOWN - OTHERS == set()


def test_workers_get_every_setting() -> None:
    assert KNOWN - NOT_PASSED - passed("worker-gpu") == set()
    assert KNOWN - NOT_PASSED - passed("worker") == {"CHUNKFLOW_DEVICES"}


def test_the_example_names_just_what_compose_reads() -> None:
    read = set(re.findall(r"\$\{(\w+)", TEXT))
    passed_on = {
        k
        for service in SERVICES
        for k, v in SERVICES[service].get("environment", {}).items()
        if v is None
    }
    assert named((ROOT / ".env.example").read_text()) == read | passed_on


def test_the_example_tells_the_defaults() -> None:
    told = dict(
        re.findall(r"^#([A-Z]\w*)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )
    compose = {name: default for name, _, default in re.findall(r"\$\{(\w+)(:?-)([^}]*)\}", TEXT)}
    code = {
        name: str(info.default)
        for field, info in Settings.model_fields.items()
        for name in variable_names(field)
    }
    assert told.pop("LOCAL_AWS") == "0", "the one line that is no default: it leads to AWS"
    for name, value in told.items():
        assert value.lower() == (compose.get(name) or code[name]).lower(), name


def test_the_test_settings_exist() -> None:
    assert named((ROOT / "tests/deploy/e2e.env").read_text()) <= named(
        (ROOT / ".env.example").read_text()
    )


@pytest.mark.parametrize("service", WORKERS)
def test_defaults_are_valid_and_the_stop_waits_for_the_grace(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    settings = settings_of(monkeypatch, service)
    assert settings.endpoint_url == "http://aws:5000"
    assert filled(SERVICES[service]["stop_grace_period"]) == f"{settings.grace_seconds + 15:.0f}s"


def test_the_same_file_serves_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"LOCAL_AWS": "0", "AWS_REGION": "eu-west-1"}
    told |= dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    settings = settings_of(monkeypatch, "worker", told)
    assert (settings.endpoint_url, settings.region) == (None, "eu-west-1")
    assert not environment("worker", told)["AWS_ACCESS_KEY_ID"], "so that the machine's role counts"
    local = {
        name for name, service in SERVICES.items() if filled(service.get("scale"), told) == "0"
    }
    assert local == {"aws", "queue", "sample"}
    awaited = {
        name for service in set(SERVICES) - local for name in SERVICES[service]["depends_on"]
    }
    assert awaited <= local, "nothing waits for what is not started"


def test_services_start_in_order() -> None:
    ready, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert SERVICES["queue"]["depends_on"] == SERVICES["sample"]["depends_on"] == {"aws": ready}
    for service in (*WORKERS, "producer"):
        assert SERVICES[service]["depends_on"] == {"queue": done, "sample": done}
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == [
        "aws",
        "queue",
        "sample",
        "worker",
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_containers_have_no_privileges(service: str) -> None:
    told = SERVICES[service]
    assert told["read_only"] is True
    assert told["tmpfs"] == ["/tmp"]
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in told.get("volumes", []))
    assert not {"privileged", "user", "ports", "network_mode", "pid", "ipc"} & set(told)


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_built_here_and_bear_the_version(service: str) -> None:
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
    assert builds == [target], "one service builds it"


def test_the_profile_gpu_reserves_gpus_for_all_of_its_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = SERVICES["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    (devices,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert settings_of(monkeypatch, "worker-gpu").devices == "all"


def test_the_job_of_the_demo_is_whole() -> None:
    path = ROOT / "deploy/demo/pipeline.yaml"
    assert filled(SERVICES["worker"]["volumes"][0]) == "./deploy/demo:/job:ro"
    assert environment("worker")["CHUNKFLOW_PIPELINE"] == "/job/pipeline.yaml"
    load, inference, save = Pipeline.load(path).operators
    for file in (inference.convnet_model, inference.convnet_weight_path):  # type: ignore[attr-defined]
        assert (path.parent / Path(file).relative_to("/job")).is_file()
    file = PipelineFile.load(path)
    assert file.tasks["volume_path"] == load.volume_path  # type: ignore[attr-defined]
    assert file.ledger_path == f"{save.volume_path}/log"  # type: ignore[attr-defined]


def test_the_loopback_of_the_tests_holds_all_but_gpus() -> None:
    override = yaml.safe_load((ROOT / "tests/deploy/compose.loopback.yml").read_text())["services"]
    assert set(override) == set(SERVICES) - {"worker-gpu"}
    assert override.pop("aws")["network_mode"] == "none"
    assert all(service == {"network_mode": "service:aws"} for service in override.values())
