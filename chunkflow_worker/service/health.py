"""The state of a worker in a small file, and what a health probe concludes from it.

Loads nothing heavy. Folders for temporary files are shared with other users, so a worker's files
lie in a folder of its user's own, are never written through a link, and count only for that user.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_type_hints

STALE_SECONDS = 30.0
_NAME = "chunkflow-worker-{}.health"
_NAMES = re.compile(r"chunkflow-worker-([1-9]\d{0,9})\.health")
_MOST_BYTES = 65_536

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


@dataclass(frozen=True)
class _Stored(Health):
    """What a file holds. pid: of the worker. written: when, in seconds since 1970."""

    pid: int
    written: float


def health_folder(folder: str | None = None) -> Path:
    """The folder that was set, or else one of this user's own among the temporary files."""
    given = folder or os.environ.get("CHUNKFLOW_HEALTH_FOLDER")
    return Path(given) if given else _own_folder()


def _own_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"chunkflow-worker-{os.geteuid()}"


def _make_own(folder: Path) -> None:
    """Make the folder of this user. Raises OSError when another user made one of its name."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


class HealthFile:
    """The health file of this process."""

    def __init__(self, folder: str | None):
        self._path = health_folder(folder) / _NAME.format(os.getpid())

    def write(self, health: Health) -> None:
        """Write it as a whole, by rename; only this user may read it. Raises OSError."""
        folder = self._path.parent
        if folder == _own_folder():
            _make_own(folder)
        state = asdict(health) | {"pid": os.getpid(), "written": time.time()}
        number, part = tempfile.mkstemp(".part", ".chunkflow-worker-", folder)  # a new file
        try:
            with os.fdopen(number, "w") as file:
                json.dump(state, file)
            Path(part).replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(part).unlink()
            raise

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def probe(ready: bool) -> tuple[bool, str]:
    """Whether all workers of this machine are alive (or ready), and one line that says why not."""
    folder = health_folder()
    states = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))  # noqa: PTH208 the names, whatever they are
        states = [state for name in names if (state := _state_of_living(folder, name)) is not None]
    if not states:
        return False, f"no worker has written its state to {folder}"
    problems = [
        f"{state.name}: {problem}" for state in states if (problem := _problem(state, ready))
    ]
    return not problems, "; ".join(problems) or f"{len(states)} {'ready' if ready else 'alive'}"


def _state_of_living(folder: Path, name: str) -> _Stored | None:
    """The state in a file; None when its process has ended, and for what no worker wrote."""
    found = _NAMES.fullmatch(name)
    if found is None:
        return None
    try:
        state = _stored(json.loads(_own_content(folder / name)))
        if state.pid != int(found[1]):
            return None
        os.kill(state.pid, 0)
    except PermissionError:
        return None  # another user's process
    except (OSError, OverflowError, ValueError, TypeError, RecursionError):
        return None
    return state


def _own_content(path: Path) -> bytes:
    """The content of a file that only its user may read. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not stat.S_ISREG(found.st_mode) or not is_own:
            raise PermissionError(f"{path} is not a private file of this user")
        return file.read(_MOST_BYTES)


def _stored(content: dict[str, object]) -> _Stored:
    """Raises TypeError for what is no state."""
    state = _Stored(**content)  # type: ignore[arg-type]
    for name, kind in get_type_hints(_Stored).items():
        legal = (float, int) if kind is float else (kind if kind in (int, bool) else str,)
        if not isinstance(getattr(state, name), legal):
            raise TypeError(name)
    return state


def _problem(state: _Stored, ready: bool) -> str:
    age = time.time() - state.written
    if age > STALE_SECONDS:
        return f"its state is {age:.0f} s old"
    if state.phase == "opening":
        return "volumes and models are being opened" if ready else ""
    if state.phase == "stopping":
        return "it is stopping" if ready else ""
    if state.turn_age > state.turn_limit:
        return f"its poll loop has made no progress for {state.turn_age:.0f} s"
    if state.lost_seconds > state.lease_seconds and state.queue_answers:
        return f"a task is still running {state.lost_seconds:.0f} s after its lease was lost"
    if ready and not state.queue_answers:
        return "the queue does not answer"
    return ""
