"""The manifests of deploy/kubernetes, as kubectl builds them, and their containers."""

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
    """Return all objects of an overlay.

    Without kubectl and kustomize the test is skipped; in CI it fails.
    """
    return render_folder(folder / "kubernetes" / "overlays" / overlay)


@cache
def render_folder(folder: Path) -> list[Manifest]:
    """Return all objects that the kustomization of a folder builds."""
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
    """Return the one object of that kind and name. A generated name may end with a hash."""

    def matches(manifest: Manifest) -> bool:
        full_name = manifest["metadata"]["name"]
        return manifest["kind"] == kind and name in (full_name, full_name.rsplit("-", 1)[0])

    (found,) = filter(matches, manifests)
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the `spec` of the pods, by the name of the object that creates them."""
    found = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        job = spec.get("jobTemplate", {}).get("spec", {})
        if template := spec.get("template") or job.get("template"):
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return all containers, by `pod/container`."""
    return {
        f"{name}/{container['name']}": container
        for name, pod in pods(manifests).items()
        for container in pod.get("initContainers", []) + pod["containers"]
    }


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """Return the environment variables of a container."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"].rsplit("-", 1)[0]
        found |= find(manifests, "ConfigMap", name)["data"]
    return found | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def unknown_variables(manifests: list[Manifest], known: set[str]) -> set[str]:
    """Return the CHUNKFLOW_ variables in ConfigMaps and containers that are no settings."""
    return {name for name in _names(manifests) if name.startswith(PREFIX)} - known


def _names(value: Any) -> Iterator[str]:
    """Yield the keys of all mappings, and the values of the key `name`, at any depth."""
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
    """Return the bytes of a quantity such as 2Gi."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return int(quantity[:-2]) * units[quantity[-2:]]
