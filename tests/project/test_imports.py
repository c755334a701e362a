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


LINES = {
    "chunkflow": ["--help", "inference --help", "load-precomputed --help"],
    "chunkflow-worker": ["--help", "run --help", "check --help"],
    "chunkflow-producer": ["--help", "enqueue --help", "status --help", "queue create --help"],
}
EACH_LINE = """
import sys
code, *lines = sys.argv[1:]
for line in lines:
    sys.argv = ["command", *line.split()]
    try:
        exec(code)
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""


@pytest.mark.parametrize("command", LINES)
def test_help_loads_nothing_heavy(command: str) -> None:
    """Named defect of the peer: --help failed for want of a library that was not declared, and
    took over 3 s.
    """
    loaded = modules_loaded(EACH_LINE, COMMANDS[command], *LINES[command])
    assert loaded.isdisjoint(HEAVY)


def test_the_list_of_operators_is_shown_without_building_their_models() -> None:
    """Which takes most of a second, where the list takes a fraction of one."""
    assert modules_loaded(COMMANDS["chunkflow"], "--help").isdisjoint({"pydantic", "yaml", "numpy"})


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_loaded(
        "import chunkflow_worker, chunkflow_worker.config.settings, chunkflow_worker.job.message"
    )
    assert loaded.isdisjoint({*HEAVY, "numpy"})
