"""The state that a worker leaves in a small file, and what a probe makes of it. Loads nothing heavy."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

STALE_SECONDS = 30.0
_NAME = "chunkflow-worker-{}.health"


def health_folder(folder: str | None = None) -> Path:
    return Path(folder or os.environ.get("CHUNKFLOW_HEALTH_FOLDER") or tempfile.gettempdir())


class HealthFile:
    """The file of this process."""

    def __init__(self, folder: str | None):
        self._path = health_folder(folder) / _NAME.format(os.getpid())

    def write(self, **state: Any) -> None:
        """Write it whole, by rename. Raises OSError."""
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(state | {"pid": os.getpid(), "written": time.time()}))
        part.replace(self._path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def probe(ready: bool) -> tuple[bool, str]:
    """Whether all workers of this machine are alive (or ready), and one line that says why not."""
    states = [
        state
        for path in sorted(health_folder().glob(_NAME.format("*")))
        if (state := _living(path))
    ]
    if not states:
        return False, f"no worker has left its state in {health_folder()}"
    faults = [
        f"{state.get('name', state['pid'])}: {fault}"
        for state in states
        if (fault := _fault(state, ready))
    ]
    return not faults, "; ".join(faults) or f"{len(states)} {'ready' if ready else 'alive'}"


def _living(path: Path) -> dict[str, Any] | None:
    """The state in a file, unless its process is gone."""
    try:
        state = json.loads(path.read_text())
        os.kill(int(state["pid"]), 0)
    except PermissionError:
        pass  # it lives, and is another user's
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(state)


def _fault(state: dict[str, Any], ready: bool) -> str:
    age = time.time() - state["written"]
    if age > STALE_SECONDS:
        return f"its state is {age:.0f} s old"
    if state["phase"] == "opening":
        return "volumes and models are being opened" if ready else ""
    if state["phase"] == "stopping":
        return "it is stopping" if ready else ""
    if state["turn_age"] > state["turn_limit"]:
        return f"its poll loop has stood still for {state['turn_age']:.0f} s"
    if state["lost_seconds"] > state["lease_seconds"] and state["queue_answers"]:
        return f"a task runs on {state['lost_seconds']:.0f} s after its lease was lost"
    if ready and not state["queue_answers"]:
        return "the queue does not answer"
    return ""
