from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from chunkflow_worker.machine.signals import active_stop_signals

PRINT = (
    "from chunkflow_worker.machine.signals import active_stop_signals; "
    "print([n.name for n in active_stop_signals()])"
)


@pytest.mark.parametrize(
    ("prefix", "active"),
    [
        ([], ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"]),
        (["nohup"], ["SIGTERM", "SIGINT", "SIGQUIT"]),
    ],
)
def test_signals_that_the_process_was_started_to_ignore_are_left_out(
    prefix: list[str], active: list[str]
) -> None:
    command = [*prefix, sys.executable, "-c", PRINT]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == str(active)


def test_a_signal_that_is_ignored_now_is_left_out() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in active_stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in active_stop_signals() or before is signal.SIG_IGN
