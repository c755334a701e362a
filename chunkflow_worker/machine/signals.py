"""The signals on which a worker, or a supervisor of workers, stops."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def active_stop_signals() -> list[signal.Signals]:
    """Those that this process was not started to ignore, as nohup does."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
