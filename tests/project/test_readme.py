"""Runs the lines of the README in a fresh clone, from the installation to the verified result."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pages import blocks, run, script_of
from tests.support.paths import ROOT


def clone(folder: Path) -> None:
    """Copy what git tracks, or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme(tmp_path: Path) -> None:
    clone(tmp_path)
    output = run(script_of(blocks(ROOT / "README.md")), tmp_path)
    assert "done 1 of 1" in output
    assert "all 12 boxes" in output
    assert "nothing is wrong" in output
