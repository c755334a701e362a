"""The Dockerfile follows the rules of hadolint, and our own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

TARGETS = ("producer", "local-aws", "worker-cpu", "worker-gpu")


def stages() -> dict[str, tuple[str, list[str]]]:
    """Return the parent and the instructions of each stage, without comments and line breaks."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in filter(None, re.sub(r"\\\n\s*", "", text).splitlines()):
        if line.startswith("FROM "):
            _, parent, _, name = line.split()
            found[name] = (parent, [])
        elif name:
            found[name][1].append(line)
    return found


def instructions(stage: str) -> list[str]:
    """Return the instructions of a stage and of the stages below it."""
    parent, own = stages()[stage]
    return (instructions(parent) if parent in stages() else []) + own


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_without_root_and_under_tini(target: str) -> None:
    lines = instructions(target)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"], "Kubernetes can only check a number"
    entrypoints = [line for line in lines if line.startswith("ENTRYPOINT ")]
    assert entrypoints[-1].startswith('ENTRYPOINT ["tini", "--"')
    last_copy = max(i for i, line in enumerate(lines) if line.startswith(("COPY ", "RUN ")))
    assert lines.index(users[0]) > last_copy, "the user can change nothing in the image"


@pytest.mark.parametrize(
    ("target", "command"), [("worker-cpu", "chunkflow-worker"), ("worker-gpu", "chunkflow-worker")]
)
def test_workers_have_a_health_check(target: str, command: str) -> None:
    health = [line for line in instructions(target) if line.startswith("HEALTHCHECK ")]
    assert len(health) == 1
    assert health[0].endswith(f'CMD ["{command}", "health"]')


@pytest.mark.parametrize("target", TARGETS)
def test_code_comes_after_the_packages(target: str) -> None:
    copies = [line for line in instructions(target) if line.startswith("COPY ")]
    assert len(copies) == 2
    assert "-packages " in copies[0]
    assert copies[1] == "COPY --from=code /opt/venv /opt/venv"
    packages = instructions(copies[0].split()[1].removeprefix("--from="))
    sources = [line.split()[1] for line in packages if line.startswith("COPY ")]
    assert sources
    assert all(source.startswith("deploy/requirements/") for source in sources)


def test_packages_are_installed_by_hash_from_wheels() -> None:
    venv = " ".join(instructions("venv"))
    assert "PIP_REQUIRE_HASHES=1" in venv
    assert "PIP_ONLY_BINARY=:all:" in venv
    installs = {
        name: line for name, (_, lines) in stages().items() for line in lines if " -r " in line
    }
    locks = {path.name for path in (ROOT / "deploy/requirements").glob("*.txt")}
    assert set(installs) == {name for name in stages() if name.endswith("-packages")} | {"code"}
    for name, line in installs.items():
        files = set(re.findall(r"(\S+\.txt)", line))
        assert files, name
        assert files <= locks, name
        assert "--mount=type=secret,id=pip.conf" in line, "pip settings may contain a password"


def test_base_image_is_pinned_and_can_be_changed() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    first = next(line for line in lines if line.startswith("ARG "))
    pinned = r"ARG PYTHON_IMAGE=python:3\.\d+-slim-bookworm@sha256:[0-9a-f]{64}"
    assert re.fullmatch(pinned, first)
    assert {parent for parent, _ in stages().values()} - set(stages()) == {"${PYTHON_IMAGE}"}


def test_make_pins_the_digest_that_the_registry_has(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "Dockerfile").write_text("ARG PYTHON_IMAGE=python:3.11-slim@sha256:0\nFROM x\n")
    docker = tmp_path / "docker"
    digest = f"sha256:{'ab' * 32}"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho {digest}\n')
    docker.chmod(0o755)
    command = ["make", "base-image", f"DOCKER={docker}"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert (
        (tmp_path / "asked").read_text().startswith("buildx imagetools inspect python:3.11-slim ")
    )
    first, _ = (tmp_path / "Dockerfile").read_text().splitlines()
    assert first == f"ARG PYTHON_IMAGE=python:3.11-slim@{digest}"
    docker.write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert done.returncode != 0
    assert digest in (tmp_path / "Dockerfile").read_text(), "the old digest stays"


def test_compose_takes_no_image_from_elsewhere() -> None:
    """So the digest in the Dockerfile is the only one to pin."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = {service["image"] for service in services.values() if "build" in service}
    assert {service["image"] for service in services.values()} == built


def test_only_package_managers_download() -> None:
    every = [line for _, lines in stages().values() for line in lines]
    assert not [line for line in every if line.startswith("ADD ")]
    assert not [line for line in every if re.search(r"\b(curl|wget|git)\b|:latest", line)]
    (install,) = [line for line in every if "apt-get install" in line]
    assert "--no-install-recommends" in install
    assert "rm -rf /var/lib/apt/lists/*" in install


def test_images_have_labels() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for target in TARGETS:
        lines = instructions(target)
        labels = " ".join(line for line in lines if line.startswith("LABEL "))
        for name in ("title", "description", "version", "revision", "licenses", "base.name"):
            assert f"org.opencontainers.image.{name}=" in labels, (target, name)
        assert f"ARG VERSION={version}" in lines


def test_the_build_context_is_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line for line in lines if line and not line.startswith("#")]
    assert allowed[0] == "*"
    shown = {line[1:] for line in allowed if line.startswith("!")}
    copied = {
        word
        for _, lines in stages().values()
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert {path.split("/")[0] for path in copied} == {path.split("/")[0] for path in shown}
    assert all((ROOT / path).exists() for path in copied)
    assert not any(path.startswith((".env", ".git")) for path in shown)
