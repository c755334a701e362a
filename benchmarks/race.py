"""Runs programs in turn.

Each program is loaded and warm before the first run, and only one runs at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.environment import ROOT, python_with
from benchmarks.job import Job
from chunkflow_worker.machine.cpu import cpu_count


@dataclass(frozen=True)
class Program:
    """One program of a benchmark.

    label: its name in tables.
    module: its runner, a module of `benchmarks.runners`.
    python: the interpreter of its environment.
    """

    label: str
    module: str
    python: Path
    job: Job


@dataclass
class Result:
    """What one program measured.

    facts: what the program reports about itself, for example its precision.
    versions: of its packages.
    seconds: of each run.
    cpu_seconds: of each run, all threads together. Other work on the machine hardly changes them.
    peak: largest resident memory, in bytes, minus that before the image was made.
    """

    program: Program
    facts: dict[str, str]
    versions: dict[str, str]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak: int = 0


def ours(label: str, job: Job) -> Program:
    return Program(label, "ours_runner", Path(sys.executable), job)


def bare(label: str, job: Job) -> Program:
    return Program(label, "bare_runner", Path(sys.executable), job)


def chunkflow(job: Job) -> Program:
    return Program(
        "chunkflow 1.2.0", "chunkflow_runner", python_with("chunkflow", "chunkflow==1.2.0"), job
    )


def monai(job: Job) -> Program:
    return Program("MONAI", "monai_runner", python_with("monai", "monai"), job)


def race(programs: Sequence[Program], repeats: int) -> list[Result]:
    """Run all programs `repeats` times, in turn; return their results in the same order."""
    with ExitStack() as stack:
        runners = [stack.enter_context(_Runner(program)) for program in programs]
        ready = [(runner, runner.ready()) for runner in runners]
        for i in range(repeats):
            for runner, result in ready:
                answer = runner.go()
                result.seconds.append(answer["seconds"])
                result.cpu_seconds.append(answer["cpu_seconds"])
                result.peak = max(result.peak, answer["peak"])
                turn = f"{i + 1}/{repeats}  {result.program.label}"
                print(f"{turn}: {answer['seconds']:.2f} s", file=sys.stderr)
    return [result for _, result in ready]


class _Runner:
    """The process of a program. It starts in `ready`, so that programs warm up in turn."""

    def __init__(self, program: Program):
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def __enter__(self) -> _Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.close()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            if error is not None:
                self._process.kill()
            self._process.wait()

    def ready(self) -> Result:
        """Start the process and wait until it is warm."""
        print(f"starting {self._program.label}", file=sys.stderr)
        self._process = subprocess.Popen(
            [
                self._program.python,
                "-m",
                f"benchmarks.runners.{self._program.module}",
                self._program.job.dump(),
            ],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(cpu_count()), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        answer = self._answer()
        return Result(self._program, answer["facts"], answer["versions"])

    def go(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SystemExit(f"{self._program.label} failed:\n{self._log.read()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
