"""The page of a job on Kubernetes: the components page and page-actions, in an overlay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from producer.cli.commands.page import page
from tests.deploy.manifests import FOLDER, Manifest, containers, find, pods, render_folder
from tests.deploy.network import Place, Pod, may_be_called

PAGE = Pod({"app.kubernetes.io/name": "page", "app.kubernetes.io/part-of": "chunkflow"})
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(params=["local", "aws-gpu-spot"])
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "deploy" / "kubernetes" / "overlays" / str(request.param)


def built(overlay: Path, *components: str) -> list[Manifest]:
    file = overlay / "kustomization.yaml"
    chosen = yaml.safe_load(file.read_text())
    chosen.setdefault("components", []).extend(f"../../components/{name}" for name in components)
    file.write_text(yaml.safe_dump(chosen))
    return render_folder(overlay)


def words_of(container: dict[str, Any]) -> list[str]:
    """The words for the command `page`; each option must exist."""
    name, *words = container["args"]
    assert name == page.name
    options = {option for one in page.params for option in one.opts}
    assert {word for word in words if word.startswith("-")} <= options
    return list(words)


def test_the_page_can_only_be_read_and_nobody_may_call_it(overlay: Path) -> None:
    manifests = built(overlay, "page")
    kubernetes_validate.validate(find(manifests, "Deployment", "page"), "1.30", strict=True)
    pod, container = pods(manifests)["page"], containers(manifests)["page/page"]
    assert words_of(container) == [], "it listens at 127.0.0.1, and can only be read"
    assert container["securityContext"] == HARDENED
    assert (pod["securityContext"]["runAsNonRoot"], pod["serviceAccountName"]) == (True, "producer")
    assert pod["automountServiceAccountToken"] is False
    assert container["image"].rpartition("/")[2] == "chunkflow-producer:0.1.0"
    neighbour = Place("10.100.3.5", {"app.kubernetes.io/name": "worker"})
    policies = [one for one in manifests if one["kind"] == "NetworkPolicy"]
    assert not may_be_called(policies, PAGE, neighbour, 8760)
    assert not [
        one
        for one in manifests
        if one["kind"] in ("Service", "Ingress") and one["metadata"]["name"] == "page"
    ]
    assert (
        container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    )


def test_actions_need_the_token_of_a_secret(overlay: Path) -> None:
    manifests = built(overlay, "page", "page-actions")
    kubernetes_validate.validate(find(manifests, "Deployment", "page"), "1.30", strict=True)
    container = containers(manifests)["page/page"]
    option, file, place = words_of(container)
    assert (option, file) == ("--allow-actions", "--token-file")
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "token"]
    assert Path(place).parent == Path(mount["mountPath"])
    assert mount["readOnly"]
    (volume,) = [one for one in pods(manifests)["page"]["volumes"] if one["name"] == "token"]
    assert volume["secret"] == {"secretName": "page-token", "defaultMode": 0o440}
    assert not [one for one in manifests if one["kind"] == "Secret"], (
        "no secret is in the repository"
    )
