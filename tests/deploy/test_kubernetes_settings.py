"""Every variable in the manifests is a setting of the code, with a legal value."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import chunkflow_worker.config.settings
from chunkflow_worker.config.settings import Settings, variable_names
from tests.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    PREFIX,
    Manifest,
    containers,
    environment,
    render,
    unknown_variables,
)


def names_of(fields: set[str], names: Callable[[str], list[str]]) -> set[str]:
    return {name for field in fields for name in names(field)}


KNOWN = names_of(set(Settings.model_fields), variable_names)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    manifests = render(overlay)
    assert unknown_variables(manifests, KNOWN) == set()
    variables = environment(manifests, containers(manifests)["worker/worker"])
    assert sum(name.startswith(PREFIX) for name in variables) > 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_value_is_legal(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render(overlay)
    for name, value in environment(manifests, containers(manifests)["worker/worker"]).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.pipeline == Path("/etc/chunkflow/pipeline.yaml")
    assert not settings.spot_notice
    assert settings.metrics == "cloudwatch"


def test_a_setting_that_is_renamed_in_the_code_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(chunkflow_worker.config.settings.__file__).read_text()
    assert source.count("    grace_seconds: float") == 1
    copy = tmp_path / "renamed_settings.py"
    copy.write_text(source.replace("    grace_seconds: float", "    drain_seconds: float"))
    spec = importlib.util.spec_from_file_location("renamed_settings", copy)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "renamed_settings", module)
    spec.loader.exec_module(module)
    known = names_of(set(module.Settings.model_fields), module.variable_names)
    for overlay in OVERLAYS:
        assert unknown_variables(render(overlay), known) == {"CHUNKFLOW_GRACE_SECONDS"}


@pytest.mark.parametrize(
    "file",
    ["base/settings.env", "overlays/local/settings.env", "overlays/aws-gpu-spot/settings.env"],
)
def test_a_variable_that_is_misspelt_in_the_manifests_is_found(tmp_path: Path, file: str) -> None:
    shutil.copytree(FOLDER / "kubernetes", tmp_path / "kubernetes")
    shutil.copytree(FOLDER / "pipelines", tmp_path / "pipelines")
    changed = tmp_path / "kubernetes" / file
    changed.write_text(changed.read_text() + "CHUNKFLOW_GRACE_SECOND=1\n")
    overlay = file.split("/")[1] if "overlays" in file else "local"
    assert unknown_variables(render(overlay, tmp_path), KNOWN) == {"CHUNKFLOW_GRACE_SECOND"}


def test_a_variable_of_a_container_alone_is_found() -> None:
    manifest: Manifest = {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "env": [{"name": "CHUNKFLOW_QEUE", "value": "q"}]}]},
    }
    assert unknown_variables([manifest], KNOWN) == {"CHUNKFLOW_QEUE"}
