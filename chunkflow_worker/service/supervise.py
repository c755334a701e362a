"""One worker process for each GPU, restarted when it dies: ``chunkflow-worker run --devices``."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.machine.gpus import list_gpus, parse_devices
from chunkflow_worker.machine.signals import STOP_SIGNALS, active_stop_signals

log = logging.getLogger("chunkflow_worker.supervise")

SHORTEST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 60.0
HEALTHY_SECONDS = 600.0
REFUSED = 2  # exit status of a worker whose settings, pipeline or queue are wrong

_PR_SET_PDEATHSIG = 1


def supervise(devices: str, command: Sequence[str]) -> int:
    """Run the command once for each device until a signal comes; returns the exit status."""
    settings = Settings.load()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s supervisor %(message)s"
    )
    is_named = "worker_name" in settings.model_fields_set
    base = settings.worker_name if is_named else socket.gethostname()
    gpus = list_gpus()
    port = settings.metrics_port
    children = [
        Child(device, base, command, port + i if port else 0)
        for i, device in enumerate(parse_devices(devices, gpus))
    ]
    if not gpus:
        log.warning("nvidia-smi lists no GPU: workers that find no GPU compute on the CPU")
    return Supervisor(children).run()


class Child:
    """One device, and the worker process on it while there is one.

    metrics_port: on which it answers Prometheus; 0 for none.
    """

    def __init__(self, device: str, base_name: str, command: Sequence[str], metrics_port: int = 0):
        self.name = f"{base_name}-gpu{device}" if device.isdecimal() else f"{base_name}-{device}"
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self._device, self._command, self._metrics_port = device, command, metrics_port
        self._started = 0.0
        self._delay = 0.0

    def start(self) -> None:
        variables = {
            "CUDA_VISIBLE_DEVICES": self._device,
            "CHUNKFLOW_WORKER_NAME": self.name,
            "CHUNKFLOW_METRICS_PORT": str(self._metrics_port),
        }
        # CUDA orders GPUs by speed; with this order, numbers are those of nvidia-smi.
        environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | os.environ | variables
        self._started = time.monotonic()
        # In a process group of its own, it gets a Ctrl-C of the terminal once: from here.
        self.process = subprocess.Popen(
            self._command, env=environment, process_group=0, preexec_fn=_end_with_parent()
        )
        log.info("%s started, pid %d", self.name, self.process.pid)

    def plan_restart(self) -> float:
        """Set the time of the next start; returns the seconds until then."""
        self._delay = next_delay(self._delay, time.monotonic() - self._started)
        self.due = time.monotonic() + self._delay
        return self._delay


def next_delay(last: float, ran_seconds: float) -> float:
    """Seconds to wait before a child is restarted.

    last: the delay before its last run, 0 the first time. ran_seconds: how long that run took.
    """
    if ran_seconds >= HEALTHY_SECONDS or not last:
        return SHORTEST_DELAY_SECONDS
    return min(2 * last, LONGEST_DELAY_SECONDS)


def _end_with_parent() -> Callable[[], None]:
    """Returns what a child calls before it becomes a worker.

    It asks for a SIGTERM when its parent has ended, by SIGKILL or otherwise. Only Linux has this;
    elsewhere, the workers of a killed supervisor keep running. The parent is the thread that
    started the child, so the main thread starts all children.
    """
    parent = os.getpid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        # The parent's handler would swallow a SIGTERM that comes before exec.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
            if os.getppid() != parent:
                os._exit(0)

    return prepare


class Supervisor:
    """Keeps children running until a signal comes or one of them refuses its configuration."""

    def __init__(self, children: Sequence[Child]):
        self._children = children
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        for number in active_stop_signals():
            signal.signal(number, lambda n, _: self._signals.put(n))
        signal.signal(signal.SIGCHLD, lambda n, _: self._signals.put(n))
        while True:
            self._start_due()
            if self._stopping and not any(child.process for child in self._children):
                return self._status
            self._wait_for_signal()
            for child in self._children:
                if child.process is not None and (status := child.process.poll()) is not None:
                    self._ended(child, child.process.pid, status)

    def _start_due(self) -> None:
        for child in self._children:
            if not self._stopping and child.process is None and child.due <= time.monotonic():
                try:
                    child.start()
                except OSError as error:
                    delay = child.plan_restart()
                    log.warning(
                        "%s could not be started, next try in %.0f s: %s", child.name, delay, error
                    )

    def _wait_for_signal(self) -> None:
        """Wait until a child ends, a child is due, or a signal to stop comes."""
        due = [child.due for child in self._children if child.process is None]
        waits_for_due = due and not self._stopping
        timeout = max(0.0, min(due) - time.monotonic()) if waits_for_due else None
        with suppress(Empty):
            number = self._signals.get(timeout=timeout)
            if number in STOP_SIGNALS:
                log.info("stopping all workers: %s", signal.Signals(number).name)
                self._stop()

    def _stop(self) -> None:
        """Send SIGTERM to all, whatever the signal was: on it, workers give their tasks back."""
        self._stopping = True
        for child in self._children:
            if child.process is not None:
                child.process.send_signal(signal.SIGTERM)

    def _ended(self, child: Child, pid: int, status: int) -> None:
        child.process = None
        how = f"{child.name} (pid {pid}) {_ending(status)}"
        if self._stopping:
            log.info("%s", how)
            # SIGTERM kills a worker that is not ready yet.
            if status not in (0, -signal.SIGTERM):
                self._status = max(self._status, REFUSED if status == REFUSED else 1)
        elif status == REFUSED:
            log.critical("stopping all workers: %s, because its configuration is wrong", how)
            self._status = REFUSED
            self._stop()
        else:
            log.warning("%s, restarting it in %.0f s", how, child.plan_restart())


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
