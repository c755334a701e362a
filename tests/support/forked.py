"""Worker processes, and those of the producer, that start fast.

They are forked from a server process that has imported what workers import, which takes two
seconds of a processor otherwise.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "cloudvolume",
        "torch",
        "celery.bin.celery",
        "celery.apps.worker",
        "celery.concurrency.thread",
        "chunkflow_worker.service.app",
        "chunkflow_worker.service.transport",
        "chunkflow_worker.operators.inference",
        "chunkflow_worker.operators.load_precomputed",
        "chunkflow_worker.operators.save_precomputed",
        "chunkflow_worker.volumes.precomputed.volume",
    ]
)


class Forked:
    """A process with the methods of `subprocess.Popen`.

    environment: all its variables. log: the file of its output. words: its command.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, *words: str):
        arguments = (dict(environment), log, words)
        self._process = _FORKS.Process(target=_become, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedWorker(Forked):
    """A process of `chunkflow-worker run`, with what that becomes. Settings are variables."""

    def __init__(self, environment: Mapping[str, str], log: Path):
        words = ("celery", "--quiet", "--app", "chunkflow_worker", "worker")
        super().__init__(environment, log, *words)


AnyWorker = ForkedWorker | subprocess.Popen[bytes]


def _become(environment: Mapping[str, str], log: Path, words: Sequence[str]) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv = list(words)
    if words[0] == "celery":
        from celery.bin.celery import main
    else:
        from producer.cli import main

    sys.exit(main())
