"""How fast are tasks sent to a far queue, and at what cost? Ours, task-queue and chunkflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.environment import ROOT, python_with
from benchmarks.options import options
from benchmarks.table import markdown, record, rounds

LATENCY = 0.012
_FEW = 10
"""Tasks of the run whose CPU time, that of the start, is taken off."""

_RUNNERS = Path(__file__).parent / "runners"
_KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


@dataclass(frozen=True)
class Case:
    """One program that sends so many tasks. runner: a file of `benchmarks/runners`."""

    label: str
    runner: str
    python: Path
    processes: int
    tasks: int


class Run(NamedTuple):
    """seconds: of the sending. cpu_seconds: of the program and its processes, start included."""

    seconds: float
    cpu_seconds: float


def cases() -> list[Case]:
    here = Path(sys.executable)
    task_queue = python_with("task-queue", "task-queue==2.14.3", torch=False)
    chunkflow = python_with("chunkflow", "chunkflow==1.2.0")
    return [
        Case("ours", "ours_sending_runner", here, 1, 100_000),
        Case("ours", "ours_sending_runner", here, 2, 100_000),
        Case("task-queue 2.14.3", "task_queue_sending_runner", task_queue, 1, 50_000),
        Case("task-queue 2.14.3", "task_queue_sending_runner", task_queue, 2, 50_000),
        Case("chunkflow 1.2.0", "chunkflow_sending_runner", chunkflow, 1, 5_000),
    ]


def main() -> None:
    given = options(__doc__, repeats=3)
    every = cases()
    with far_sqs() as variables:
        starts = {case: run(case, _FEW, variables) for case in every}
        found: dict[Case, list[Run]] = {case: [] for case in every}
        for _ in range(given.repeats):
            for case in every:
                found[case].append(run(case, case.tasks, variables))
                print(f"{case.label}, {case.processes}: {found[case][-1]}", file=sys.stderr)
    head = ["Program", "processes", "tasks/s", "slowest to fastest", "CPU ms a task"]
    rows = [row(case, runs, starts[case]) for case, runs in found.items()]
    text = (
        f"Messages for boxes, to an SQS that answers after {LATENCY * 1e3:.0f} ms and runs on the "
        "same machine. Each program has its own number of threads: 32, 40 and 1. CPU time is that "
        f"of all its processes, without the start; {rounds(given.repeats)}.\n\n"
        f"{markdown(head, rows)}"
    )
    record("Sending", text, [], given.write)


def row(case: Case, runs: list[Run], start: Run) -> list[str]:
    rates = [case.tasks / found.seconds for found in runs]
    cpu = median(found.cpu_seconds for found in runs) - start.cpu_seconds
    return [
        case.label,
        str(case.processes),
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{cpu / (case.tasks - _FEW) * 1e3:.3f}",
    ]


def run(case: Case, tasks: int, variables: dict[str, str]) -> Run:
    """Run a program once. Raises SystemExit with what it said when it fails."""
    command = [case.python, _RUNNERS / f"{case.runner}.py", str(tasks), str(case.processes)]
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as home:
        _write_keys(Path(home))
        child = subprocess.Popen(
            command,
            env=os.environ | variables | {"HOME": home, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            raise SystemExit(f"{case.label} failed:\n{said}{log.read()[-3000:]}")
    return Run(float(said.split()[-1]), usage.ru_utime + usage.ru_stime)


@contextmanager
def far_sqs() -> Iterator[dict[str, str]]:
    """Serve SQS in a process of its own; the variables that lead there."""
    command = [sys.executable, _RUNNERS / "sqs_far_away.py", str(LATENCY)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
        yield {"AWS_ENDPOINT_URL": url, **region, **_KEYS}
    finally:
        server.kill()
        server.wait()


def _write_keys(home: Path) -> None:
    """Where chunkflow looks for them."""
    folder = home / ".cloudvolume" / "secrets"
    folder.mkdir(parents=True)
    (folder / "aws-secret.json").write_text(json.dumps(_KEYS | {"AWS_DEFAULT_REGION": "us-east-1"}))


if __name__ == "__main__":
    main()
