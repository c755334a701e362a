"""What `chunkflow-producer verify` says of a service's job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from producer.cli import main
from tests.support.run_command import run_command
from tests.support.service import Service

_STATUSES = (0, 1, 3)  # with which it ends after it has looked


@dataclass(frozen=True)
class Verified:
    """status: with which the command ended. report: what it printed."""

    status: int
    report: dict[str, Any]

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of problem by box; of a box with several, the last one."""
        return {problem["box"]: problem["kind"] for problem in self.report["problems"]}

    @property
    def wrong(self) -> set[str]:
        """The boxes with a problem, without those that could not be checked."""
        return {box for box, kind in self.kinds.items() if kind != "not-checked"}


def verify(service: Service, *options: str) -> Verified:
    """Run `verify` on the service's pipeline. Raises RuntimeError when it could not look."""
    command = ("verify", "--pipeline", str(service.pipeline), "--json", *options)
    done = run_command(main, *command, environment=service.environment)
    if done.status not in _STATUSES:
        raise RuntimeError(done.stderr)
    return Verified(done.status, json.loads(done.stdout))
