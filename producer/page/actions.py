"""`Actions`: what the page can do to a job, where that is allowed."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.state import State
from producer.repair.decide import decide
from producer.repair.redrive import matcher, redrive

if TYPE_CHECKING:
    from pathlib import Path

    from producer.page.job_watch import Target

_STATES: dict[str, State] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
_SHORTEST = 16  # characters of a token


def read_token(file: Path) -> str:
    """The token that a file holds. Raises ConfigError for a file without one."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.one(str(file), "--token-file", f"cannot be read: {error}") from None
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable()):
        problem = f"holds no token: it must have at least {_SHORTEST} characters of ASCII"
        cure = "python3 -c 'import secrets; print(secrets.token_urlsafe(24))' makes one"
        raise ConfigError.one(str(file), "--token-file", problem, cure)
    return token


class Asked(BaseModel):
    """What a page asks for. cause, box: of the tasks to send back; any where they are empty.

    why: of a pause or a cancellation.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["redrive", "pause", "resume", "cancel"]
    cause: str = Field("", max_length=4000)
    box: str = Field("", max_length=300)
    why: str = Field("", max_length=1000)


class Actions:
    """token: that a request must bring; by default, one that is new at each start."""

    def __init__(self, target: Target, token: str = ""):
        self._target = target
        self.token = token or secrets.token_urlsafe(24)

    def allows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def do(self, asked: Asked) -> str:
        """Do it. Returns what was done, in a sentence.

        Raises ConfigError, QueueUnavailable and StorageUnavailable.
        """
        if asked.action == "redrive":
            return self._redrive(asked)
        decided = decide(self._target.ledger, self._target.job, _STATES[asked.action], asked.why)
        state = decided.after.state
        if decided.before.state == state:
            return f"job {decided.job.job} is {state} already"
        return f"job {decided.job.job} is {state}"

    def _redrive(self, asked: Asked) -> str:
        target = self._target
        if target.queue is None:
            cure = "run its boxes again, with chunkflow or with enqueue"
            raise ConfigError.one("job", target.job, "has no queue, and so no dead letters", cure)
        chosen = matcher(target.ledger, asked.cause or None, asked.box or None, target.job)
        result = redrive(target.client, target.queue, chosen)
        left = result.left + len(result.malformed)
        return f"sent {result.sent} dead letters back to queue {target.queue.name}, left {left}"
