"""`Claim`: one of several processes does something for a job, until it ends or dies.

    <ledger>/jobs/<job>.<what>-<n>    who does it now; written anew while that goes on

The first claim is the object with the number 1, which just one process can create. Who finds that
the latest object was not written anew for a minute, or that its process on this machine has ended,
creates the next one, and goes on instead.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from chunkflow_worker.errors import RetryableError
from chunkflow_worker.job.storage_clock import age_of
from chunkflow_worker.storage.create_once import create_once
from chunkflow_worker.storage.files import Files

LEASE_SECONDS = 60
_MOST_BYTES = 10_000  # of an object that is one
_RENEW_SECONDS, _LOST_SECONDS = LEASE_SECONDS / 4, LEASE_SECONDS * 2 / 3


class ClaimLost(RetryableError):
    """Another process does it now, since this one stood still for too long."""


@dataclass
class Claim:
    """What this process has claimed. files: where the objects are."""

    files: Files
    name: str
    number: int
    clock: Callable[[], float] = monotonic
    _renewed: float = 0.0

    @classmethod
    def take(cls, files: Files, name: str, clock: Callable[[], float] = monotonic) -> Claim | None:
        """Claim it, unless another process has it. Raises StorageUnavailable."""
        latest = _latest(files, name)
        if latest:
            age = age_of(files, f"{name}-{latest}")
            is_over = age is not None and age >= timedelta(seconds=LEASE_SECONDS)
            if not is_over and not _has_ended(files.get_json(f"{name}-{latest}", _MOST_BYTES)):
                return None
        began = clock()
        made = cls(files, name, latest + 1, clock, began)
        return made if create_once(files, made._object, _who()) else None

    @property
    def _object(self) -> str:
        return f"{self.name}-{self.number}"

    def check(self) -> None:
        """Renew the claim, if it is time. Raises ClaimLost and StorageUnavailable."""
        now = self.clock()
        late = now - self._renewed
        if late < _RENEW_SECONDS:
            return
        if late >= _LOST_SECONDS or _latest(self.files, self.name) != self.number:
            raise ClaimLost(f"{self.name}: another process goes on with this")
        self.files.put(self._object, _who(), "application/json")
        self._renewed = now

    def release(self) -> None:
        """Let another process claim it at once, since this one ends. Raises StorageUnavailable."""
        if _latest(self.files, self.name) == self.number:
            self.files.delete(self._object)


def _latest(files: Files, name: str) -> int:
    """The number of the latest object; 0 for none."""
    found = (re.fullmatch(rf"{re.escape(name)}-(\d+)", each) for each in files.names(f"{name}-"))
    return max((int(match[1]) for match in found if match), default=0)


def _who() -> bytes:
    who = {"process": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
    return json.dumps(who).encode()


def _machine() -> str:
    """Where numbers of processes are the same: a boot of a machine, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _has_ended(who: Any) -> bool:
    """Whether the process that claimed it was one of this machine, and has ended."""
    if not isinstance(who, dict) or not who.get("machine") or who["machine"] != _machine():
        return False
    process = who.get("process")
    return isinstance(process, int) and not Path(f"/proc/{process}").exists()
