"""The commands, options and variables that pages, images, compose file and manifests name are those of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.cli.worker import cli as worker
from chunkflow_worker.config.settings import Settings, variable_names
from producer.cli import cli as producer
from tests.deploy.manifests import OVERLAYS, containers, render
from tests.support.paths import ROOT

PROGRAMS: dict[str, click.Group] = {
    "chunkflow": chunkflow,
    "chunkflow-worker": worker,
    "chunkflow-producer": producer,
}
# Tutorials are run.
PAGES = [
    page
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/**/*.md")
    for page in ROOT.glob(pattern)
]
OTHERS = [ROOT / name for name in ("Dockerfile", "docker-compose.yml", ".env.example")]
OTHERS += [
    file for ending in ("*.yaml", "*.env", "*.py") for file in (ROOT / "deploy").rglob(ending)
]
ENTRYPOINTS = {
    "chunkflow-worker": ["chunkflow-worker"],
    "chunkflow-producer": ["chunkflow-producer"],
    "chunkflow-local-aws": [],
}
NO_SETTINGS = {"CHUNKFLOW_TEST_DATA", "CHUNKFLOW_PLUGIN_DIR"}


def unknown(words: list[str]) -> list[str]:
    """Of a command line, what its program does not have; of a program that is none of ours, nothing."""
    if words[:1] == ["tini"]:
        words = words[2:]
    if not words or words[0] not in PROGRAMS:
        return []
    program = command = PROGRAMS[words[0]]
    rest, found = iter(words[1:]), []
    with click.Context(program) as context:
        for word in rest:
            group = program if program.chain else command
            if re.match(r"--?[a-z]", word):
                name, _, value = word.partition("=")
                option = next(
                    (
                        p
                        for p in command.get_params(context)
                        if name in (*p.opts, *p.secondary_opts)
                    ),
                    None,
                )
                if option is None:
                    found.append(f"{command.name} {name}")
                elif not value and not getattr(option, "is_flag", False):
                    _ = [next(rest, "") for _ in range(option.nargs)]
            elif isinstance(group, click.Group) and (inner := group.get_command(context, word)):
                command = inner
            elif isinstance(command, click.Group) and not command.chain:
                found.append(f"{command.name} {word}")
    return found


def told(path: Path) -> Iterator[list[str]]:
    """The command lines in a file: of a page those in its code, of others those in comments and texts."""
    text = re.sub(r"\\\n\s*", "", path.read_text())
    text = re.sub(r"docker compose run --rm( --no-deps)? producer ", "chunkflow-producer ", text)
    code, comments = (
        r"(?:^|`) *(chunkflow(?:-worker|-producer)? [^`\n]+)",
        r"\b(chunkflow-(?:worker|producer) .+)",
    )
    for line in re.findall(code if path.suffix == ".md" else comments, text, re.MULTILINE):
        yield [
            word.strip("`'\".,:()") or word for word in re.split(r" (?:[|&>]|#)|;", line)[0].split()
        ]


def test_what_is_not_there_is_found() -> None:
    assert unknown(["chunkflow-producer", "status", "--watch", "--queue=q", "x"]) == []
    assert unknown(["chunkflow-producer", "state", "--watch"]) == ["cli state", "cli --watch"]
    assert unknown(["tini", "--", "chunkflow-worker", "health", "--alive"]) == ["health --alive"]
    assert unknown(
        ["chunkflow", "create-chunk", "--size", "1", "1", "1", "threshold", "-q", "mask"]
    ) == ["threshold -q"]
    assert unknown(["python", "-q"]) == []


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_variables_that_are_told_exist(path: Path) -> None:
    assert [wrong for line in told(path) for wrong in unknown(line)] == []
    known = {
        name for field in Settings.model_fields for name in variable_names(field)
    } | NO_SETTINGS
    assert set(re.findall(r"\bCHUNKFLOW_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())) <= known


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_values_that_are_told_are_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"\b(CHUNKFLOW_[A-Z_]+)=([\w./-]+)", path.read_text()):
        if name not in NO_SETTINGS:
            monkeypatch.setenv(name, value)
            Settings.load()


def test_pages_tell_commands() -> None:
    lines = [line for page in PAGES for line in told(page)]
    assert {line[0] for line in lines} == set(PROGRAMS)
    assert {" ".join(line[:2]) for line in lines} >= {
        f"chunkflow-producer {name}" for name in producer.commands
    }


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
    assert len(commands) == 2
    for image, command in commands:
        assert unknown(ENTRYPOINTS[image] + command) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_start_commands_that_exist(overlay: str) -> None:
    for name, container in containers(render(overlay)).items():
        entrypoint = ENTRYPOINTS[container["image"].rpartition(":")[0].rpartition("/")[2]]
        assert unknown(container.get("command", entrypoint) + container.get("args", [])) == [], name
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert unknown(container.get(probe, {}).get("exec", {}).get("command", [])) == [], name
