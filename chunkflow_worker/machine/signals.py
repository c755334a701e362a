"""The signals that stop a worker or a supervisor of workers."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def active_stop_signals() -> list[signal.Signals]:
    """The stop signals that this process does not ignore; nohup, for example, ignores SIGHUP."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
