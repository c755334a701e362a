"""What pages, images, compose file and manifests start and set exists in the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from chunkflow_worker.config.settings import Settings, variable_names
from tests.deploy.manifests import OVERLAYS, containers, render
from tests.support.commands import PAGES, command_lines, unknown
from tests.support.paths import ROOT

FILES = [ROOT / name for name in ("Dockerfile", "docker-compose.yml", ".env.example")]
FILES += [
    file for ending in ("*.yaml", "*.env", "*.py") for file in (ROOT / "deploy").rglob(ending)
]
NO_SETTINGS = {"CHUNKFLOW_TEST_DATA", "CHUNKFLOW_PLUGIN_DIR", "CHUNKFLOW_NOTIFY"}
NO_SETTINGS |= {"CHUNKFLOW_TEST_AXE", "CHUNKFLOW_TEST_PICTURES"}
"""Variables of the tests, of an operator and of the producer."""

ENTRYPOINTS = {
    "chunkflow-worker": ["chunkflow-worker"],
    "chunkflow-producer": ["chunkflow-producer"],
    "chunkflow-local-aws": [],
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def given_values() -> list[tuple[str, str, str]]:
    """File, variable and value of each setting that a file sets: CHUNKFLOW_X=value."""
    return [
        (name_of(path), name, value)
        for path in [*PAGES, *FILES]
        for name, value in re.findall(r"\b(CHUNKFLOW_[A-Z_]+)=([\w./-]+)", path.read_text())
        if name not in NO_SETTINGS
    ]


def test_a_name_that_does_not_exist_is_found() -> None:
    for line, wrong in {
        "chunkflow-producer status --watch --queue=q": [],
        "chunkflow-producer state --watch": ["cli state", "cli --watch"],
        "tini -- chunkflow-worker health --alive": ["health --alive"],
        "chunkflow create-chunk --size 1 1 1 threshold -q x mask": ["threshold -q", "cli x"],
        "chunkflow ... create-chnk": ["cli create-chnk"],
        "python -q": [],
    }.items():
        assert unknown(line.split()) == wrong, line


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_commands_in_a_file_exist(path: Path) -> None:
    assert [wrong for line in command_lines(path) for wrong in unknown(line)] == []


def test_files_name_commands() -> None:
    assert sum(bool(list(command_lines(path))) for path in FILES) >= 5


@pytest.mark.parametrize("path", [*PAGES, *FILES], ids=name_of)
def test_variables_in_a_file_exist(path: Path) -> None:
    known = {name for field in Settings.model_fields for name in variable_names(field)}
    named = re.findall(r"\bCHUNKFLOW_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    assert set(named) <= known | NO_SETTINGS


@pytest.mark.parametrize(("file", "name", "value"), given_values())
def test_values_in_a_file_are_legal(
    file: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    Settings.load()


def test_images_start_commands_that_exist() -> None:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    starts = [
        json.loads(a) + json.loads(b)
        for a, b in re.findall(r"^ENTRYPOINT (.*)\nCMD (.*)$", text, re.MULTILINE)
    ]
    checks = [
        json.loads(command)
        for command in re.findall(r"^HEALTHCHECK .*CMD (.*)$", text, re.MULTILINE)
    ]
    assert (len(starts), len(checks)) == (3, 2)
    assert [wrong for line in starts + checks for wrong in unknown(line)] == []


def test_services_of_compose_start_commands_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = [
        (re.findall(r"chunkflow-[a-z-]+(?=:)", s["image"])[0], s["command"])
        for s in services.values()
        if "command" in s
    ]
    assert len(commands) == 3
    for image, command in commands:
        assert unknown(ENTRYPOINTS[image] + command) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_start_commands_that_exist(overlay: str) -> None:
    for name, container in containers(render(overlay)).items():
        entrypoint = ENTRYPOINTS[container["image"].rpartition(":")[0].rpartition("/")[2]]
        assert unknown(container.get("command", entrypoint) + container.get("args", [])) == [], name
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert unknown(container.get(probe, {}).get("exec", {}).get("command", [])) == [], name
