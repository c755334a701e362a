"""What `make dist` puts into the wheel and the sdist: the two packages, and no other folder."""

from __future__ import annotations

import subprocess

import pytest
from hatchling.builders.plugin.interface import BuilderInterface
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.support.paths import ROOT

AT_THE_ROOT = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"}


def files(builder: type[BuilderInterface]) -> set[str]:
    found = builder(str(ROOT)).recurse_included_files()
    return {file.distribution_path for file in found}


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.mark.parametrize("builder", [WheelBuilder, SdistBuilder])
def test_all_files_of_the_packages_go_along_and_no_others(builder: type[BuilderInterface]) -> None:
    code = tracked("chunkflow_worker", "producer")
    assert {"chunkflow_worker/py.typed", "producer/py.typed"} <= code
    more = files(builder) - code
    assert code <= files(builder)
    assert more <= (AT_THE_ROOT if builder is SdistBuilder else set())


def test_ci_builds_and_checks_them() -> None:
    assert "make dist\n" in (ROOT / ".ci" / "run").read_text()
