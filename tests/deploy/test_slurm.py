"""The scripts for Slurm, run by doubles of sbatch, srun and scontrol in tests/support/slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chunkflow_worker.job.ledger import Ledger
from tests.cli.test_keep_going import MAIN, list_of_boxes
from tests.support.paths import ROOT

__all__ = ["list_of_boxes"]

SCRIPTS = sorted((ROOT / "deploy" / "slurm").glob("*.sbatch"))
DOUBLES = ROOT / "tests" / "support" / "slurm"
WORKER = """#!/bin/bash
trap 'echo told to stop; exit 0' TERM
echo "worker $*"
touch "$SLURM_DOUBLE/begun.$SLURM_RESTART_COUNT"
[[ $SLURM_RESTART_COUNT -eq 1 ]] && exit 3
sleep 60 & wait
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a shell in which Slurm and our commands are installed."""
    bin = tmp_path / "bin"
    bin.mkdir()
    command = f'#!/bin/bash\nexec {sys.executable} -c "{MAIN}" "$@"\n'
    for name, text in (("chunkflow", command), ("chunkflow-worker", WORKER)):
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    (tmp_path / "slurm").mkdir()
    path = f"{DOUBLES}:{bin}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "SLURM_DOUBLE": str(tmp_path / "slurm")}


def sbatch(script: str, *options: str, folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    path = next(path for path in SCRIPTS if path.name == script)
    command = ["sbatch", *(o for o in options if "=" in o), str(path)]
    command += [o for o in options if "=" not in o]
    return subprocess.Popen(command, cwd=folder, env=env, text=True)


def wait_for(path: Path) -> str:
    """The text of a file, as soon as it has one."""
    for _ in range(1200):
        if path.exists() and path.stat().st_size:
            return path.read_text()
        signal.sigtimedwait([], 0.05)
    raise AssertionError(f"there is no {path}")


@pytest.mark.parametrize("script", [*SCRIPTS, *sorted(DOUBLES.iterdir())], ids=lambda p: p.name)
def test_scripts_are_free_of_known_mistakes(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_a_script_without_its_arguments_says_its_usage(
    script: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert sbatch(script.name, "--array=0-0", folder=tmp_path, env=environment).wait(20) == 1
    assert f"usage: sbatch [options] {script.name} PIPELINE" in wait_for(
        tmp_path / "chunkflow-100_0.log"
    )


def test_a_worker_that_is_told_to_stop_is_queued_again(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    array = sbatch(
        "queue.sbatch", "--array=0-0", "p.yaml", "boxes", folder=tmp_path, env=environment
    )
    while not (tmp_path / "slurm" / "begun.0").exists():
        assert array.poll() is None
        signal.sigtimedwait([], 0.05)
    os.kill(int(wait_for(tmp_path / "slurm" / "step.101")), signal.SIGTERM)
    assert array.wait(20) == 1, "the second time it fails, and is not queued again"
    log = (tmp_path / "chunkflow-100_0.log").read_text()
    assert log.splitlines()[:3] == [
        "worker run --pipeline p.yaml --queue boxes --grace 90",
        "told to stop",
        "stopped by Slurm: this array element is queued again",
    ]
    assert log.count("worker run") == 2


@pytest.mark.slow
def test_an_array_does_a_file_of_boxes_although_one_element_is_preempted(
    list_of_boxes: Path, environment: dict[str, str]
) -> None:
    """The element that waits in a box is told to stop, and begins anew."""
    folder = list_of_boxes
    array = sbatch(
        "boxes.sbatch",
        "--array=1-3",
        "--job-name=cells",
        "p.yaml",
        "boxes.txt",
        "--attempts",
        "2",
        folder=folder,
        env=environment,
    )
    process = int(wait_for(folder / "killed"))
    steps = (folder / "slurm").glob("step.*")
    (step,) = [path for path in steps if int(path.read_text()) == process]
    os.kill(process, signal.SIGTERM)
    (folder / "released").touch()
    assert array.wait(120) == 1, "there is a poison box"
    logs = {path.name: path.read_text() for path in folder.glob("cells-100_*.log")}
    assert sorted(logs) == [f"cells-100_{n}.log" for n in (1, 2, 3)]
    element = int(step.suffix[1:]) - 101
    assert "queued again" in logs[f"cells-100_{element}.log"]
    ledger = Ledger(f"{folder}/out/log")
    done, failed = ledger.boxes()
    assert (len(done), failed) == (26, {"16-32_16-32_16-32"})
    record = ledger.read("16-32_16-32_16-32")
    assert record is not None
    assert (record.job, record.attempts, record.final) == ("cells", 2, True)
