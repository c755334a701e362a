"""The manifests of deploy/kubernetes as kubectl makes them, and the containers in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

FOLDER = ROOT / "deploy"
OVERLAYS = sorted(path.name for path in (FOLDER / "kubernetes" / "overlays").iterdir())
PREFIX = "CHUNKFLOW_"

Manifest = dict[str, Any]


def render(overlay: str, folder: Path = FOLDER) -> list[Manifest]:
    """All objects of an overlay. Skips the test where there is neither kubectl nor kustomize, unless in CI."""
    return _build(folder / "kubernetes" / "overlays" / overlay)


@cache
def _build(folder: Path) -> list[Manifest]:
    for tool, *command in (("kubectl", "kustomize"), ("kustomize", "build")):
        if shutil.which(tool):
            done = subprocess.run(
                [tool, *command, str(folder)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    missing = "needs kubectl or kustomize: https://kubernetes.io/docs/tasks/tools"
    pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name; of a generated name the part before the hash."""
    (found,) = [
        m
        for m in manifests
        if m["kind"] == kind
        and name in (m["metadata"]["name"], m["metadata"]["name"].rsplit("-", 1)[0])
    ]
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """What stands as the `spec` of pods, by the name of what makes them."""
    found = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get(
            "template"
        )
        if template:
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """All containers, by `pod/container`."""
    return {
        f"{name}/{container['name']}": container
        for name, pod in pods(manifests).items()
        for container in pod.get("initContainers", []) + pod["containers"]
    }


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """The variables that a container gets."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= find(manifests, "ConfigMap", source["configMapRef"]["name"].rsplit("-", 1)[0])[
            "data"
        ]
    return found | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def unknown_variables(manifests: list[Manifest], known: set[str]) -> set[str]:
    """CHUNKFLOW_ variables, in ConfigMaps or in containers, that are no settings."""
    return {name for name in _names(manifests) if name.startswith(PREFIX)} - known


def _names(value: Any) -> Iterator[str]:
    """Keys of mappings, and what is called `name`, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key == "name":
                yield str(inner)
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def memory(quantity: str) -> int:
    """Bytes of a quantity such as 2Gi."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return int(quantity[:-2]) * units[quantity[-2:]]
