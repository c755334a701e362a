"""What starts quickly stays quick: no `--help` loads a heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "cloudvolume", "cloudfiles", "celery", "kombu", "boto3", "botocore", "h5py")
COMMANDS = {
    "chunkflow": "from chunkflow_worker.cli.chunkflow import main; main()",
    "chunkflow-worker": "from chunkflow_worker.cli.worker import main; main()",
    "chunkflow-producer": "from producer.cli import main; main()",
}


def modules_loaded(code: str, *arguments: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(lines) > 100, "importtime was measured"
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize(
    "line",
    [
        "chunkflow --help",
        "chunkflow inference --help",
        "chunkflow load-precomputed --help",
        "chunkflow-worker --help",
        "chunkflow-worker run --help",
        "chunkflow-worker check --help",
        "chunkflow-producer --help",
        "chunkflow-producer enqueue --help",
        "chunkflow-producer status --help",
        "chunkflow-producer queue create --help",
    ],
)
def test_help_loads_nothing_heavy(line: str) -> None:
    """Named defect of the peer: --help failed for want of a library that was not declared, and
    took over 3 s.
    """
    command, *arguments = line.split()
    assert modules_loaded(COMMANDS[command], *arguments).isdisjoint(HEAVY)


def test_the_list_of_operators_is_shown_without_building_their_models() -> None:
    """Which takes most of a second, where the list takes a fraction of one."""
    assert modules_loaded(COMMANDS["chunkflow"], "--help").isdisjoint({"pydantic", "yaml", "numpy"})


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_loaded(
        "import chunkflow_worker, chunkflow_worker.config.settings, chunkflow_worker.job.message"
    )
    assert loaded.isdisjoint({*HEAVY, "numpy"})
