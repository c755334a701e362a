from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkflow_worker.service.supervise import next_delay


def test_delay_doubles_up_to_a_minute_and_starts_again_after_a_healthy_run() -> None:
    delays = [0.0]
    for _ in range(8):
        delays.append(next_delay(delays[-1], ran_seconds=5))
    assert delays[1:] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert next_delay(60, ran_seconds=601) == 1


@pytest.fixture
def supervised() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a supervisor of a command in Python on some devices; its output is in its stderr."""
    started: list[subprocess.Popen[str]] = []

    def start(devices: str, code: str, hangup: str = "SIG_DFL") -> subprocess.Popen[str]:
        call = f"""
import signal, sys
from chunkflow_worker.service.supervise import STOP_SIGNALS, supervise
for number in STOP_SIGNALS:  # whatever the tests were started by
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.{hangup})
sys.exit(supervise(sys.argv[1], sys.argv[2:]))
"""
        command = [sys.executable, "-c", call, devices, sys.executable, "-c", code]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(autouse=True)
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested does not depend on the GPUs of the machine."""
    lines = [f"GPU {i}: NVIDIA (UUID: GPU-{i}{i}{i}{i})" for i in range(3)]
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


END_ON_SIGTERM = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
WAIT_FOR_SIGTERM = END_ON_SIGTERM + "print(who, file=sys.stderr, flush=True); signal.pause()"
CHILD = (
    "import os, signal, sys; "
    "who = os.environ['CUDA_VISIBLE_DEVICES'], os.environ['CHUNKFLOW_WORKER_NAME'][-5:]; "
)


def lines_until(process: subprocess.Popen[str], *parts: str) -> list[str]:
    """Lines of a process until each part was in one of them."""
    assert process.stderr is not None
    lines: list[str] = []
    while not all(any(part in line for line in lines) for part in parts):
        line = process.stderr.readline()
        assert line, f"ended before all of {parts} were there: {lines}"
        lines.append(line)
    return lines


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGHUP,
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGQUIT, marks=pytest.mark.long),
    ],
)
def test_signals_stop_all(
    supervised: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = supervised("all", CHILD + WAIT_FOR_SIGTERM)
    lines_until(process, "('0', '-gpu0')", "('1', '-gpu1')", "('2', '-gpu2')")
    process.send_signal(number)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read().count("ended with status 0") == 3


def test_hangup_that_is_ignored_stays_so(supervised: Callable[..., subprocess.Popen[str]]) -> None:
    process = supervised("0", CHILD + WAIT_FOR_SIGTERM, hangup="SIG_IGN")
    lines_until(process, "('0',")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert "SIGHUP" not in process.stderr.read()


@pytest.mark.parametrize(
    ("death", "reported"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        pytest.param("sys.exit(70)", "ended with status 70", marks=pytest.mark.long),
        # As a worker does that received a message for another pipeline
        ("sys.exit(0)", "ended with status 0"),
    ],
)
def test_child_that_ends_is_restarted_after_growing_delays(
    supervised: Callable[..., subprocess.Popen[str]], death: str, reported: str
) -> None:
    process = supervised("0,1", CHILD + f"{death} if who[0] == '1' else None; " + WAIT_FOR_SIGTERM)
    lines = lines_until(process, "restarting it in 2 s", "('0',")
    ends = [line for line in lines if "-gpu1 (pid" in line]
    assert len(ends) == 2
    assert all(reported in line for line in ends)
    assert sum("gpu0 started" in line for line in lines) == 1, "the other is left alone"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_refused_configuration_stops_all_with_status_2(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = f"f = {str(tmp_path / 'ready')!r}; "
    refuse = "(open(f).read(), sys.exit(2)) if who[0] == '1' else None; "
    ready = END_ON_SIGTERM + "open(f, 'w').close(); signal.pause()"
    subprocess.run(["mkfifo", str(tmp_path / "ready")], check=True)
    process = supervised("0,1", CHILD + path + refuse + ready)
    assert process.wait(20) == 2
    assert process.stderr is not None
    log = process.stderr.read()
    assert "CRITICAL" in log
    assert "gpu1" in log.split("CRITICAL")[1].splitlines()[0]
    assert "gpu0 (pid" in log.split("CRITICAL")[1], "the other was waited for"


def test_child_that_fails_while_it_stops_gives_status_1(
    supervised: Callable[..., subprocess.Popen[str]],
) -> None:
    process = supervised(
        "0,1", CHILD + WAIT_FOR_SIGTERM.replace("sys.exit(0)", "sys.exit(int(who[0]) * 7)")
    )
    lines_until(process, "('0',", "('1',")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_children_end_with_a_supervisor_that_is_killed(
    supervised: Callable[..., subprocess.Popen[str]],
) -> None:
    process = supervised("0,1", CHILD + WAIT_FOR_SIGTERM)
    lines_until(process, "('0',", "('1',")
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    assert process.stderr is not None
    process.stderr.read()  # which ends when the children do, that write to it


def test_command_that_cannot_be_started_is_tried_again() -> None:
    call = (
        "import sys; from chunkflow_worker.service.supervise import supervise; "
        "sys.exit(supervise('0', ['/nowhere/python']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", call], stderr=subprocess.PIPE, text=True
    ) as process:
        lines_until(process, "could not be started, next try in 1 s")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_machine_that_lists_no_gpu_is_reported(
    supervised: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    lines_until(
        supervised("0", CHILD + WAIT_FOR_SIGTERM),
        "WARNING supervisor nvidia-smi lists no GPU",
        "('0',",
    )
