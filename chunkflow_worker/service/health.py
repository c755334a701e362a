"""The state of a worker in a small file, and what a health probe concludes from it.

Loads nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

STALE_SECONDS = 30.0
_NAME = "chunkflow-worker-{}.health"


Phase = Literal["opening", "running", "stopping"]


@dataclass(frozen=True)
class Health:
    """The state of a worker. Times are seconds.

    turn_age, turn_limit: since the poll loop last came round, and how long that may be.
    lost_seconds: for which a task has been running on after its lease was lost; 0 when none does.
    queue_answers: False while SQS does not answer.
    """

    name: str
    phase: Phase
    turn_age: float
    turn_limit: float
    lost_seconds: float
    lease_seconds: float
    queue_answers: bool


def health_folder(folder: str | None = None) -> Path:
    return Path(folder or os.environ.get("CHUNKFLOW_HEALTH_FOLDER") or tempfile.gettempdir())


class HealthFile:
    """The health file of this process."""

    def __init__(self, folder: str | None):
        self._path = health_folder(folder) / _NAME.format(os.getpid())

    def write(self, health: Health) -> None:
        """Write it as a whole, by rename. Raises OSError."""
        part = self._path.with_suffix(".part")
        state = asdict(health) | {"pid": os.getpid(), "written": time.time()}
        part.write_text(json.dumps(state))
        part.replace(self._path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def probe(ready: bool) -> tuple[bool, str]:
    """Whether all workers of this machine are alive (or ready), and one line that says why not."""
    files = sorted(health_folder().glob(_NAME.format("*")))
    states = [state for file in files if (state := _state_of_living(file)) is not None]
    if not states:
        return False, f"no worker has written its state to {health_folder()}"
    problems = [
        f"{state.get('name', state['pid'])}: {problem}"
        for state in states
        if (problem := _problem(state, ready))
    ]
    return not problems, "; ".join(problems) or f"{len(states)} {'ready' if ready else 'alive'}"


def _state_of_living(path: Path) -> dict[str, Any] | None:
    """The state in a file; None when its process has ended."""
    try:
        state = json.loads(path.read_text())
        os.kill(int(state["pid"]), 0)
    except PermissionError:
        pass  # the process is alive, and another user's
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(state)


def _problem(state: dict[str, Any], ready: bool) -> str:
    age = time.time() - state["written"]
    if age > STALE_SECONDS:
        return f"its state is {age:.0f} s old"
    if state["phase"] == "opening":
        return "volumes and models are being opened" if ready else ""
    if state["phase"] == "stopping":
        return "it is stopping" if ready else ""
    if state["turn_age"] > state["turn_limit"]:
        return f"its poll loop has made no progress for {state['turn_age']:.0f} s"
    if state["lost_seconds"] > state["lease_seconds"] and state["queue_answers"]:
        return f"a task is still running {state['lost_seconds']:.0f} s after its lease was lost"
    if ready and not state["queue_answers"]:
        return "the queue does not answer"
    return ""
