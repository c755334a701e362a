"""`make audit` fails, and names the packages, when the auditor could not look some of them up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

GOOD = {"name": "boto3", "version": "1.44.5", "vulns": []}
WRONG = {
    "name": "pillow",
    "version": "11.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["11.1"]}],
}
REASON = "Dependency not found on PyPI and could not be audited: torch (2.13.0+cpu)"
SKIPPED = {"name": "torch", "skip_reason": REASON}
OWN = {"name": "chunkflow-worker", "skip_reason": "not found"}

AUDITOR = """
import json, pathlib, sys
folder = pathlib.Path(__file__).parent.parent
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
name = "lock" if "--requirement" in sys.argv else "installed"
print((folder / name).read_text())
sys.exit(1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a pip-audit that answers what is written to its files."""
    (tmp_path / "pip_audit").mkdir()
    (tmp_path / "pip_audit" / "__main__.py").write_text(AUDITOR)
    return tmp_path


def run(folder: Path, installed: Any, lock: Any) -> subprocess.CompletedProcess[str]:
    for name, packages in (("installed", installed), ("lock", lock)):
        text = packages if isinstance(packages, str) else json.dumps({"dependencies": packages})
        (folder / name).write_text(text)
    command = [sys.executable, str(ROOT / "deploy" / "audit.py")]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("installed", "lock", "status", "line"),
    [
        ([GOOD, OWN], [GOOD], 0, "installed here: 1 packages audited, 0 vulnerabilities known"),
        ([GOOD, SKIPPED], [GOOD], 3, f"  torch could not be audited: {REASON}"),
        ([GOOD], [SKIPPED], 3, f"  torch could not be audited: {REASON}"),
        ([GOOD], [GOOD, WRONG], 1, "  pillow 11.0: PYSEC-2026-1, fixed in 11.1"),
        ([WRONG], [SKIPPED], 1, f"  torch could not be audited: {REASON}"),
        ([], [GOOD], 3, "  no package was found"),
    ],
)
def test_nothing_that_was_not_audited_passes(
    folder: Path, installed: Any, lock: Any, status: int, line: str
) -> None:
    done = run(folder, installed, lock)
    assert done.returncode == status, done.stderr
    assert line in done.stdout.splitlines()


def test_an_auditor_that_fails_is_a_failure(folder: Path) -> None:
    done = run(folder, "no network", [GOOD])
    assert done.returncode == 1
    assert done.stderr.startswith("pip-audit failed:")


def test_it_audits_what_is_installed_and_every_lock(folder: Path) -> None:
    run(folder, [GOOD], [GOOD])
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    locks = {Path(word).name for call in calls for word in call if word.endswith(".txt")}
    # torch for CPUs is not on PyPI: test_locked_requirements.py shows that its release is the same.
    assert locks == {path.name for path in (ROOT / "deploy/requirements").glob("*.txt")} - {
        "torch-cpu.txt"
    }
    assert len(calls) == len(locks) + 1
    assert "deploy/audit.py" in (ROOT / "Makefile").read_text()
