"""debug: on a terminal, and without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.points import Points
from chunkflow_worker.operators.debug import Debug, _described
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

Typed = Callable[[Path, str], tuple[int, str]]


@pytest.fixture
def run_and_type() -> Typed:
    """Run a chain that stops at `debug`, and type a text there.

    Returns its exit status and what the terminal showed.
    """

    def run(out: Path, text: str) -> tuple[int, str]:
        chain = f"create-chunk -s 2 3 4 -p zero debug save-npy -f {out}"
        main = "from chunkflow_worker.cli.chunkflow import main; main()"
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", main, *chain.split()], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown, deadline, sent = "", monotonic() + 60, False
        try:
            while monotonic() < deadline:
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:  # the process closed its end
                    break
                if not sent and shown.rstrip().endswith(">>>"):
                    os.write(ours, text.encode())
                    sent = True
            return process.wait(20), shown
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    return run


def test_values_can_be_inspected_and_changed(run_and_type: Typed, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    status, shown = run_and_type(
        out, "print('size', chunk.array.size)\ntask.values['chunk'].array[...] = 7\n\x04"
    )
    assert status == 0, shown
    assert "chunk: Chunk 0-2_0-3_0-4 uint8 (2, 3, 4)" in shown
    assert "size 24" in shown
    assert np.load(out).tolist() == np.full((2, 3, 4), 7).tolist()


def test_values_of_every_type_are_described() -> None:
    values = {"places": Points(np.zeros((5, 3))), "note": "x" * 300, "empty": None}
    lines = _described(Task(values=values)).splitlines()
    assert lines[:2] == ["task: no box", "places: Points float64 (5, 3)"]
    assert lines[2].startswith("note: str 'xxx")
    assert len(lines[2]) < 220
    assert lines[3] == "empty: NoneType None"


def test_exit_ends_the_run(run_and_type: Typed, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    status, shown = run_and_type(out, "exit()\n")
    assert status == 130, shown
    assert "Traceback" not in shown
    assert not out.exists()


def test_a_missing_terminal_is_an_error_before_the_first_task() -> None:
    with (
        pytest.raises(ConfigError, match="stdin: is not a terminal"),
        Debug().open(Run(needed_box=lambda box, bounds: box)),
    ):
        pass


def test_workers_refuse_debug() -> None:
    run = Run(needed_box=lambda box, bounds: box, recorded=True)
    with (
        pytest.raises(
            ConfigError, match=r"needs a terminal, and workers have none\n    take it out"
        ),
        Debug().open(run),
    ):
        pass
